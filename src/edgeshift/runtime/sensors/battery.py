# SPDX-License-Identifier: Apache-2.0
"""The charge of the battery."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.probe import matching, number, text
from edgeshift.runtime.sensors.shape import Sensor


@dataclass(frozen=True)
class Battery(Sensor):
    """The lowest charge over all system batteries, in percent.

    Only supplies of type "Battery" count, without those of mice and keyboards (scope "Device"). Where a driver
    leaves out `capacity`, the share of charge or energy that is left is taken. The sign of `current_now` is not read:
    the kernel says negative means discharging, and several drivers report the opposite.
    """

    card: ClassVar[Card] = Card(
        name="battery",
        says="Charge of the battery that is emptiest, in percent.",
        paper="Linux kernel, power supply class",
        link="https://docs.kernel.org/power/power_supply_class.html",
    )
    unit: ClassVar[str] = "percent"

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`; None on mains without a battery."""
        charges = []
        for supply in matching(root, "sys/class/power_supply/*"):
            if text(supply / "type") == "Battery" and text(supply / "scope") != "Device":
                charges.append(_percent(supply))
        known = [charge for charge in charges if charge is not None]
        return min(known, default=None)


def _percent(supply: Path) -> float | None:
    if text(supply / "present") == "0":
        return None
    found = number(supply / "capacity")
    for quantity in ("charge", "energy"):
        now, full = number(supply / f"{quantity}_now"), number(supply / f"{quantity}_full")
        if found is None and now is not None and full is not None and full > 0:
            found = min(100.0, 100 * now / full)
    return found if found is not None and 0 <= found <= 100 else None
