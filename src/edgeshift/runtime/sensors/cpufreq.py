# SPDX-License-Identifier: Apache-2.0
"""The CPU's clock as a share of its full clock."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.probe import matching, number
from edgeshift.runtime.sensors.shape import Sensor


@dataclass(frozen=True)
class Cpufreq(Sensor):
    """The lowest share over all frequency policies: a big.LITTLE chip has several, and work may be on any.

    `scaling_cur_freq` is the last state that was asked for and need not be the real clock; a thermal cap shows in
    `scaling_max_freq`, so the smaller of the two counts. Both against `cpuinfo_max_freq`, in kHz.
    """

    card: ClassVar[Card] = Card(
        name="cpufreq",
        says="Clock as a share of the full clock, thermal caps included.",
        paper="Linux kernel, CPU performance scaling",
        link="https://docs.kernel.org/admin-guide/pm/cpufreq.html",
    )
    unit: ClassVar[str] = "share of full clock"

    def read(self, root: Path = Path("/")) -> float | None:
        """See `Sensor.read`; 0..1, boost counts as 1."""
        shares = [share for folder in matching(root, PLACE) if (share := _share(folder)) is not None]
        return min(shares, default=None)


PLACE = "sys/devices/system/cpu/cpufreq/policy*"


def _share(folder: Path) -> float | None:
    full = number(folder / "cpuinfo_max_freq")
    clocks = [number(folder / name) for name in ("scaling_cur_freq", "scaling_max_freq")]
    known = [clock for clock in clocks if clock is not None and clock > 0]
    if full is None or full <= 0 or not known:
        return None
    return min(1.0, min(known) / full)
