# SPDX-License-Identifier: Apache-2.0
"""How busy and how fast the runtime is, smoothed: rate of arrivals, slowdown, percentiles of recent answers.

Pure bookkeeping in the caller's time, so that a simulation in virtual time keeps the same books.
"""

import math
from collections import deque
from dataclasses import dataclass, field

# Weight of the newest service time: four requests after a clock halves, three quarters of it are known.
ALPHA = 0.3
# Arrivals are averaged over about this long; a burst shorter than it looks smaller, one longer does not.
RATE_S = 1.0
# Answers behind `recent_p95_s`, and how many new ones make it worth sorting them again.
RECENT, EVERY = 100, 10


@dataclass
class Load:
    """What policies are told about load and speed.

    Attributes:
        slowdown: Service time over profiled time; 1 = as profiled.
        measured_s: When it was last measured; -inf = never.
        recent_p95_s: 95th percentile of recent answers, arrival to answer; nan = none yet.
    """

    slowdown: float = 1.0
    measured_s: float = -math.inf
    recent_p95_s: float = math.nan
    _rate: float = 0.0
    _arrived_s: float = 0.0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _fresh: int = 0

    def arrived(self, now_s: float) -> None:
        """One request came."""
        self._rate = self.rate(now_s) + 1 / RATE_S
        self._arrived_s = now_s

    def rate(self, now_s: float) -> float:
        """Arrivals per second, smoothed; it falls while none come."""
        return self._rate * math.exp(-max(now_s - self._arrived_s, 0.0) / RATE_S)

    def served(self, now_s: float, service_s: float, profiled_s: float, total_s: float) -> None:
        """One request was answered.

        Args:
            now_s: When.
            service_s: What the variant took.
            profiled_s: What its profile says it takes.
            total_s: From arrival to answer.
        """
        ratio = service_s / profiled_s
        known = self.measured_s > -math.inf
        self.slowdown = self.slowdown + ALPHA * (ratio - self.slowdown) if known else ratio
        self.measured_s = now_s
        self._recent.append(total_s)
        self._fresh += 1
        if self._fresh >= EVERY or len(self._recent) < EVERY:
            self._fresh = 0
            ordered = sorted(self._recent)
            self.recent_p95_s = ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]
