# SPDX-License-Identifier: Apache-2.0
"""Counts of durations by upper bound, as Prometheus wants them."""

from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass
class Histogram:
    """Durations in seconds.

    Attributes:
        bounds: Upper bounds, rising.
        counts: One for each bound, and one for what lies above.
        total: Sum of all durations.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """One more duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds
