# SPDX-License-Identifier: Apache-2.0
"""The throughput of the last upload, as the application tells it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.runtime.probe import number
from edgeshift.runtime.sensors.shape import Sensor

# 100 bit/s to 100 Gbit/s.
PLAUSIBLE_KBIT_S = (0.1, 1e8)


@dataclass(frozen=True)
class Upload(Sensor):
    """One number, kbit/s, that a gateway, modem script or client writes to a file after each upload.

    No counter of the kernel says what a link could carry: `net/dev` tells what was sent, and on a link that mostly
    rests that is nearly nothing. Who receives or sends the request knows; let it replace the file in one rename.

    Attributes:
        path: Below the root.
        max_age_s: A file that was written longer ago is not read.
    """

    card: ClassVar[Card] = Card(
        name="upload",
        says="Throughput of the last upload in kbit/s, from a file that the application writes.",
        paper="house rule",
    )
    unit: ClassVar[str] = "kbit/s"

    path: str = "run/edgeshift/upload_kbit_s"
    max_age_s: float = 5.0

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise BadValue("path", self.path, "a relative path below the root")
        if not 0 < self.max_age_s < float("inf"):
            raise BadValue("max_age_s", self.max_age_s, "a finite number above 0")

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`."""
        place = root / self.path
        try:
            age_s = time.time() - place.stat().st_mtime
        except (OSError, ValueError):
            return None
        kbit_s = number(place)
        # A file from the future was written before the wall clock was set back: its age is not known.
        fresh = -1 <= age_s <= self.max_age_s
        return (
            kbit_s
            if fresh and kbit_s is not None and PLAUSIBLE_KBIT_S[0] <= kbit_s <= PLAUSIBLE_KBIT_S[1]
            else None
        )
