# SPDX-License-Identifier: Apache-2.0
"""How much of a network to keep at each clock so that its latency stays the same.

At relative clock f a network takes `a / f + b`: what computes stretches, memory does not. Both are measured for a
few sizes of the network; the kept share for a clock is where the latency between them meets the target.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Variant


@dataclass(frozen=True)
class Curve:
    """What a network costs by size.

    Attributes:
        shares: Kept share of the cost, such as multiply-accumulates, rising, each in (0, 1]; at least two.
        moving_ms: For each, the part of the latency that goes with 1 / clock, at full clock.
        fixed_ms: For each, the part that does not; empty = 0 throughout.
    """

    shares: tuple[float, ...]
    moving_ms: tuple[float, ...]
    fixed_ms: tuple[float, ...] = ()

    def check(self) -> "Curve":
        """Self, or BadValue."""
        rising = all(a < b for a, b in pairwise(self.shares))
        if len(self.shares) < 2 or not rising or not 0 < self.shares[0] < self.shares[-1] <= 1:
            raise BadValue("shares", self.shares, "two or more, rising, above 0 and at most 1")
        fixed = self.fixed_ms or (0.0,) * len(self.shares)
        if len(self.moving_ms) != len(self.shares) or len(fixed) != len(self.shares):
            raise BadValue("times", (self.moving_ms, self.fixed_ms), "one for each share")
        if not all(0 < a < math.inf for a in self.moving_ms) or not all(0 <= b < math.inf for b in fixed):
            raise BadValue("times", (self.moving_ms, self.fixed_ms), "finite, a above 0 and b from 0")
        return self

    def latency_ms(self, number: int, frequency: float) -> float:
        """Latency of the network at that place of `shares`, at a clock."""
        fixed = self.fixed_ms[number] if self.fixed_ms else 0.0
        return self.moving_ms[number] / frequency + fixed


def fit_clock(frequencies: Sequence[float], latencies_ms: Sequence[float]) -> tuple[float, float]:
    """The `a` and `b` of latency = a / f + b by least squares, neither below 0.

    Args:
        frequencies: Relative clocks, at least two different ones, each above 0.
        latencies_ms: What was measured at each, above 0.

    Raises:
        BadValue: If there are too few, or one is out of range.
    """
    if len(frequencies) != len(latencies_ms) or len(set(frequencies)) < 2:
        raise BadValue("frequencies", tuple(frequencies), "two or more different ones, one for each latency")
    if not all(0 < v < math.inf for v in (*frequencies, *latencies_ms)):
        raise BadValue(
            "clocks and latencies", (tuple(frequencies), tuple(latencies_ms)), "finite and above 0"
        )
    inverse = [1 / f for f in frequencies]
    count = len(inverse)
    x, y = sum(inverse) / count, sum(latencies_ms) / count
    spread = sum((v - x) ** 2 for v in inverse)
    slope = sum((v - x) * (t - y) for v, t in zip(inverse, latencies_ms, strict=True)) / spread
    if slope <= 0:
        return 0.0, y
    if y - slope * x < 0:  # the best line through the origin
        return sum(v * t for v, t in zip(inverse, latencies_ms, strict=True)) / sum(
            v * v for v in inverse
        ), 0.0
    return slope, y - slope * x


def ratios_for(
    frequencies: Sequence[float], curve: Curve, target_ms: float | None = None, margin: float = 0.0
) -> tuple[float, ...]:
    """The largest kept share of the cost that meets the target at each clock.

    Args:
        frequencies: Relative clocks, falling, each in (0, 1].
        curve: Measured; between its sizes the latency is taken to be straight.
        target_ms: Latency to keep; None = that of the largest size at the first clock, which then is kept whole.
        margin: Share of the target to stay under, 0 to below 1: latencies drift, and a network that no longer fits
            leaves its clock to the next smaller one, with a step in latency.

    Returns:
        One share for each clock, never rising.

    Raises:
        BadValue: If the clocks are none, or not even the smallest size meets the target; names the clock.
    """
    curve.check()
    falling = all(a > b for a, b in pairwise(frequencies))
    if not frequencies or not falling or not 0 < frequencies[-1] <= frequencies[0] <= 1:
        raise BadValue("frequencies", tuple(frequencies), "falling, above 0 and at most 1")
    last = len(curve.shares) - 1
    target = curve.latency_ms(last, frequencies[0]) if target_ms is None else target_ms
    if not 0 < target < math.inf:
        raise BadValue("target_ms", target, "a finite number above 0")
    if not 0 <= margin < 1:
        raise BadValue("margin", margin, "0 to below 1")
    whole = (curve.shares[last],) if target_ms is None else ()
    aim, what = target * (1 - margin), "target_ms less the margin" if margin else "target_ms"
    return (*whole, *(_share(curve, frequency, aim, what) for frequency in frequencies[len(whole) :]))


def _share(curve: Curve, frequency: float, target_ms: float, what: str) -> float:
    """The largest share whose latency at that clock is at most the target; `what` names that in an error."""
    times = [curve.latency_ms(number, frequency) for number in range(len(curve.shares))]
    for number in range(len(times) - 1, -1, -1):
        if times[number] > target_ms:
            continue
        if number == len(times) - 1:
            return curve.shares[number]
        along = (target_ms - times[number]) / (times[number + 1] - times[number])
        return curve.shares[number] + along * (curve.shares[number + 1] - curve.shares[number])
    raise BadValue(
        f"{what} at clock {frequency:g}",
        target_ms,
        f"at least {times[0]:.4g}, what the smallest size takes",
    )


def curve_of(variants: Sequence[Variant], *, fixed: float = 0.0, threads: int = 1) -> Curve:
    """The curve that the variants of one network show: multiply-accumulates against measured latency.

    Args:
        variants: Of one portfolio; of those with equal cost the faster counts.
        fixed: Share of a latency that does not stretch as the clock falls, 0..1; see `fit_clock`.
        threads: Latencies at this many threads count, at batch size 1.

    Raises:
        BadValue: If a latency is missing, `fixed` is out of range, or fewer than two sizes are there.
    """
    if not 0 <= fixed < 1:
        raise BadValue("fixed", fixed, "from 0 and below 1")
    whole = max((v.macs for v in variants), default=0)
    times: dict[float, float] = {}
    for variant in variants:
        share = variant.macs / whole
        took = variant.measured("latency", threads=threads).value
        times[share] = min(took, times.get(share, math.inf))
    shares = tuple(sorted(times))
    return Curve(
        shares, tuple(times[s] * (1 - fixed) for s in shares), tuple(times[s] * fixed for s in shares)
    ).check()
