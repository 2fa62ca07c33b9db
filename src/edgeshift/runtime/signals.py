# SPDX-License-Identifier: Apache-2.0
"""What is smoothed from the requests themselves: arrival rate, slowdown, recent latency.

The Switcher and the simulator feed the same classes, so that a policy sees the same state in both.
"""

import math
from bisect import bisect_left, insort
from collections import deque


class Rate:
    """Arrivals per second: each counts for `exp(-age / window_s)`.

    Attributes:
        window_s: Seconds after which an arrival counts for 1/e.
    """

    def __init__(self, window_s: float = 1.0) -> None:
        self.window_s = window_s
        self._at_s = -math.inf
        self._rate = 0.0

    def arrived(self, now_s: float) -> None:
        """One request arrived."""
        self._rate = self.at(now_s) + 1 / self.window_s
        self._at_s = max(now_s, self._at_s)

    def at(self, now_s: float) -> float:
        """The rate at that time; falls while nothing arrives."""
        return self._rate * math.exp(-max(0.0, now_s - self._at_s) / self.window_s)


class Slowdown:
    """Service time over profiled time, exponentially smoothed.

    Attributes:
        weight: Of the newest.
        value: 1 before the first.
    """

    def __init__(self, weight: float = 0.3) -> None:
        self.weight = weight
        self.value = 1.0
        self._at_s = -math.inf

    def served(self, now_s: float, took_s: float, profiled_s: float) -> None:
        """One answer took `took_s` where the profile says `profiled_s`."""
        ratio = took_s / profiled_s
        first = self._at_s == -math.inf
        self.value = ratio if first else self.value + self.weight * (ratio - self.value)
        self._at_s = now_s

    def age_s(self, now_s: float) -> float:
        """Seconds since the last; inf before the first."""
        return now_s - self._at_s


class Recent:
    """The 95th percentile of the last answers, arrival to answer.

    Attributes:
        size: How many answers count.
    """

    def __init__(self, size: int = 64) -> None:
        self.size = size
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def answered(self, took_s: float) -> None:
        """One more answer; beyond `size`, the oldest no longer counts."""
        self._in_order.append(took_s)
        insort(self._sorted, took_s)
        if len(self._in_order) > self.size:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]

    @property
    def p95_s(self) -> float:
        """Nearest rank, in seconds; nan before the first answer."""
        if not self._sorted:
            return math.nan
        return self._sorted[math.ceil(0.95 * len(self._sorted)) - 1]
