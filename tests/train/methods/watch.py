# SPDX-License-Identifier: Apache-2.0
"""A look at every step of a method under test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeshift.core.progress import Silent
from edgeshift.train import METHODS, Level, Task, Training, run_levels
from edgeshift.train.run import Run


def watched(
    name: str,
    look: Callable[[Run], Any],
    task: Task,
    training: Training,
    levels: tuple[float, ...],
    folder: Path,
    **options: Any,
) -> tuple[list[Level], dict[int, list[Any]]]:
    """The levels, and by level what `look` saw after each step."""
    method = METHODS.make(name, **options)
    seen: dict[int, list[Any]] = {}

    class Watching(type(method)):  # type: ignore[misc]  # the class is found at run time
        """Looks at every step of the method it wraps."""

        def after_step(self, run: Run) -> None:
            super().after_step(run)
            seen.setdefault(run.index, []).append(look(run))

    found = list(run_levels(Watching(**vars(method)), task, training, levels, folder, Silent()))
    return found, seen
