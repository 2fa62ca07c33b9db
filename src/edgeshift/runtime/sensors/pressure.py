# SPDX-License-Identifier: Apache-2.0
"""How much of the time work waits for a CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.probe import parsed, text
from edgeshift.runtime.sensors.shape import Sensor


@dataclass(frozen=True)
class Pressure(Sensor):
    """`some avg10` of the CPU: percent of the last 10 s in which at least one task waited. Tells a busy neighbour."""

    card: ClassVar[Card] = Card(
        name="pressure",
        says="Percent of the last 10 s in which some task waited for a CPU.",
        paper="Linux kernel, pressure stall information",
        link="https://docs.kernel.org/accounting/psi.html",
    )
    unit: ClassVar[str] = "percent"

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`; None where the kernel was built or started without it."""
        for line in (text(root / "proc/pressure/cpu") or "").splitlines():
            kind, *figures = line.split() or [""]
            for name, _, value in (figure.partition("=") for figure in figures):
                if (kind, name) == ("some", "avg10"):
                    percent = parsed(value)
                    return percent if percent is not None and 0 <= percent <= 100 else None
        return None
