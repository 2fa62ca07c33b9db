# SPDX-License-Identifier: Apache-2.0
"""The temperature of the CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.probe import matching, number, text
from edgeshift.runtime.sensors.shape import Sensor

# Of the zones that say one of these in their type, in this order; else every zone counts.
CPU_WORDS = ("cpu", "x86_pkg", "soc", "package")
# Zones that are absent report -256, 0 K or 0xffff; chips stop long before 150.
PLAUSIBLE_C = (-40.0, 150.0)


@dataclass(frozen=True)
class Temperature(Sensor):
    """The hottest thermal zone of the CPU; of all zones where none is named after it.

    Zones are chosen by their `type`: `cpu-thermal` on a Raspberry Pi and a Jetson, `CPU-therm` on older ones,
    `x86_pkg_temp` on a PC. A read that fails for a moment (EAGAIN) leaves its zone out.

    Attributes:
        zone: Part of a zone's type to look for instead, such as "gpu".
    """

    card: ClassVar[Card] = Card(
        name="temperature",
        says="Temperature of the hottest CPU zone, in degrees Celsius.",
        paper="Linux kernel, thermal sysfs",
        link="https://docs.kernel.org/driver-api/thermal/sysfs-api.html",
    )
    unit: ClassVar[str] = "degrees Celsius"

    zone: str = ""

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`."""
        zones = []
        for folder in matching(root, "sys/class/thermal/thermal_zone*"):
            milli = number(folder / "temp")
            if milli is not None and PLAUSIBLE_C[0] <= milli / 1000 <= PLAUSIBLE_C[1]:
                zones.append(((text(folder / "type") or "").lower(), milli / 1000))
        for word in (self.zone.lower(),) if self.zone else CPU_WORDS:
            if found := [celsius for kind, celsius in zones if word in kind]:
                return max(found)
        return None if self.zone else max((celsius for _, celsius in zones), default=None)
