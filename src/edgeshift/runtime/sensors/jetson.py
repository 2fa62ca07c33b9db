# SPDX-License-Identifier: Apache-2.0
"""What a Jetson draws."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.probe import matching, number, text
from edgeshift.runtime.sensors.shape import Sensor

# JetPack 5 and later; JetPack 4.
HWMON = "sys/bus/i2c/devices/*/hwmon/hwmon*"
IIO = "sys/bus/i2c/drivers/ina3221x/*/iio:device*"
# The rail that feeds all others, by the names of its generations; the largest boards have none.
TOTAL = ("vdd_in", "pom_5v_in")
# The boards draw 5 to 60 W.
MOST_W = 200.0


@dataclass(frozen=True)
class Jetson(Sensor):
    """Watts from the INA3221 monitor: the input rail if one is named so, else the sum of all rails.

    Voltage is in mV and current in mA. On JetPack 5 the channel 7 is the sum of shunt voltages, no rail.
    """

    card: ClassVar[Card] = Card(
        name="jetson",
        says="Power that the board draws, in watts, from its INA3221.",
        paper="NVIDIA Jetson developer guide, power monitors",
        link="https://docs.nvidia.com/jetson/archives/r35.1/DeveloperGuide/text/SD/PlatformPowerAndPerformance.html",
    )
    unit: ClassVar[str] = "watts"

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`; None on other boards."""
        rails: dict[str, float] = {}
        for folder in matching(root, HWMON):
            for channel in "123456":
                label = text(folder / f"in{channel}_label")
                volts, amps = number(folder / f"in{channel}_input"), number(folder / f"curr{channel}_input")
                _add(rails, label, volts, amps)
        for folder in matching(root, IIO):
            for channel in "012":
                label = text(folder / f"rail_name_{channel}")
                volts = number(folder / f"in_voltage{channel}_input")
                _add(rails, label, volts, number(folder / f"in_current{channel}_input"))
        for name in TOTAL:
            if name in rails:
                return rails[name]
        total = sum(rails.values())
        return total if rails and total <= MOST_W else None


def _add(rails: dict[str, float], label: str | None, milli_v: float | None, milli_a: float | None) -> None:
    if label and milli_v is not None and milli_a is not None:
        watts = milli_v * milli_a / 1e6
        if 0 <= watts <= MOST_W:
            rails[label.lower()] = watts
