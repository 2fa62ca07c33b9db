# SPDX-License-Identifier: Apache-2.0
"""The training log as TensorBoard event files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeshift.core.errors import NotInstalled

if TYPE_CHECKING:
    pass


class Board:
    """Writes one run per level; every number of an epoch's record becomes a curve.

    An epoch that is trained again after a crash is written again; TensorBoard shows the later one.
    """

    def __init__(self, folder: Path) -> None:
        """Take a folder for event files.

        Args:
            folder: Made when the first epoch ends.

        Raises:
            NotInstalled: If tensorboard is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise NotInstalled("tensorboard", "tensorboard") from error
        self._folder, self._make = folder, SummaryWriter
        self._writers: dict[int, SummaryWriter] = {}

    def __call__(self, level: int, record: Mapping[str, float]) -> None:
        """Write one epoch; it can be seen at once."""
        if level not in self._writers:
            self._writers[level] = self._make(str(self._folder / f"level-{level:02d}"))
        writer = self._writers[level]
        for name, value in record.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(record["epoch"]))
        writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
