# SPDX-License-Identifier: Apache-2.0
"""One step down when answers are late, one up when they are early."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.runtime.limits import clamped, from_zero, in_time, slowdown_of
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State


@dataclass(frozen=True)
class Hysteresis(Policy):
    """Two thresholds on the p95 of recent answers: it reacts to what has happened, a window late.

    Attributes:
        low: Share of the deadline below which it steps up.
        high: Share of the deadline above which it steps down.
        dwell_s: Seconds after a switch before a step up.
        settle_s: Seconds after a switch before a step down: until then the p95 is that of the last variant.
        reject: Whether a request that even the smallest cannot answer in time is refused instead of served late.
    """

    card: ClassVar[Card] = Card(
        name="hysteresis",
        says="One step down when recent answers are late, one up when they are early.",
        paper="house rule",
        needs="measurements",
    )

    low: float = 0.5
    high: float = 0.9
    dwell_s: float = 2.0
    settle_s: float = 0.25
    reject: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high <= 1:
            raise BadValue(
                "low and high", (self.low, self.high), "above 0, the first below the second, at most 1"
            )
        from_zero("dwell_s", self.dwell_s)
        from_zero("settle_s", self.settle_s)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`; before the first answer, and with a p95 that cannot be, it wants variant 0."""
        slowdown = slowdown_of(state, 1.0)
        smallest_s = ladder[0].p95_ms * (slowdown if slowdown > 0 else 1.0) / 1000
        if self.reject and not in_time(state, smallest_s):
            return Decision(0, "late", False)
        p95_s, active = state.recent_p95_s, clamped(state.active, ladder)
        if not 0 <= p95_s < float("inf"):
            return Decision(0, "no answers")
        if p95_s > self.high * state.deadline_s:
            step = -1 if state.since_switch_s >= self.settle_s else 0
            return Decision(clamped(active + step, ladder), "slow")
        if p95_s < self.low * state.deadline_s and state.since_switch_s >= self.dwell_s:
            return Decision(clamped(active + 1, ladder), "room")
        return Decision(active, "steady")
