# SPDX-License-Identifier: Apache-2.0
"""What a Raspberry Pi's firmware limits at this moment."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.probe import matching, text
from edgeshift.runtime.sensors.shape import Sensor

# The path differs between boards and kernels.
PLACES = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc*/*firmware*/get_throttled",
)
NOW = 0xF
# Bits 16 to 19 say that the same has occurred since boot; all others are 0.
KNOWN = 0xF000F


@dataclass(frozen=True)
class RaspberryPi(Sensor):
    """The low four bits of `get_throttled`; 0 = nothing is limited.

    1 = the voltage is too low, 2 = the clock is capped, 4 = it is throttled, 8 = the soft temperature limit holds.
    """

    card: ClassVar[Card] = Card(
        name="raspberry_pi",
        says="What the firmware limits: 1 voltage, 2 clock capped, 4 throttled, 8 soft heat limit.",
        paper="Raspberry Pi documentation, vcgencmd",
        link="https://www.raspberrypi.com/documentation/computers/os.html#get_throttled",
    )
    unit: ClassVar[str] = "bits"

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`; a whole number 0 to 15."""
        for place in PLACES:
            for path in matching(root, place):
                digits = (text(path) or "").removeprefix("0x")
                if 1 <= len(digits) <= 8 and set(digits) <= set("0123456789abcdefABCDEF"):
                    bits = int(digits, 16)
                    if bits & ~KNOWN == 0:
                        return float(bits & NOW)
        return None
