# SPDX-License-Identifier: Apache-2.0
"""A proportional-integral controller of the recent p95."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.limits import clamped, from_zero, in_time, rung, settled, share, slowdown_of
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State

# The integral moves for at most this long between two requests: a pause is no evidence.
LONGEST_S = 0.5


@dataclass(frozen=True)
class Pi(Policy):
    """Steers the p95 of recent answers to `target` of the deadline; its output is a place on the ladder, 0..1.

    The integral stops at the ends of the ladder (no wind-up).

    Attributes:
        target: Share of the deadline that the p95 should have.
        proportional: Output per relative error.
        integral: Output per relative error and second.
        dwell_s: Seconds after a switch before a larger variant may be chosen.
        reject: Whether a request that even the smallest cannot answer in time is refused instead of served late.
    """

    card: ClassVar[Card] = Card(
        name="pi",
        says="Steers the p95 of recent answers to a share of the deadline.",
        paper="house rule, a textbook controller",
        needs="measurements",
    )

    target: float = 0.7
    proportional: float = 0.5
    integral: float = 0.5
    dwell_s: float = 0.5
    reject: bool = True

    def __post_init__(self) -> None:
        share("target", self.target)
        from_zero("proportional", self.proportional)
        from_zero("integral", self.integral)
        from_zero("dwell_s", self.dwell_s)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`. Remembers the integral and when it was asked."""
        total, at_s = state.memory if len(state.memory) == 2 else (0.0, state.now_s)
        slowdown = slowdown_of(state, 1.0)
        smallest_s = ladder[0].p95_ms * (slowdown if slowdown > 0 else 1.0) / 1000
        if self.reject and not in_time(state, smallest_s):
            return Decision(0, "late", False, (total, at_s))
        if not (0 <= state.recent_p95_s < float("inf") and state.deadline_s > 0):
            return Decision(0, "no answers", True, (0.0, 0.0))
        error = max(-1.0, min(1.0, self.target - state.recent_p95_s / state.deadline_s))
        passed_s = min(LONGEST_S, max(0.0, state.now_s - at_s)) if abs(state.now_s) < float("inf") else 0.0
        total = max(0.0, min(1.0, total + self.integral * error * passed_s))
        wanted = rung(total + self.proportional * error, ladder)
        chosen = settled(wanted, clamped(state.active, ladder), state.since_switch_s, self.dwell_s)
        cause = "dwell" if chosen != wanted else "slow" if error < 0 else "room"
        return Decision(chosen, cause, True, (total, state.now_s))
