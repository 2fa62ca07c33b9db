# SPDX-License-Identifier: Apache-2.0
"""Always the same variant."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.limits import clamped, in_time, positive, slowdown_of
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State


@dataclass(frozen=True)
class Fixed(Policy):
    """One place on the ladder, whatever the load: the baseline of every other policy.

    Attributes:
        variant: Index in the ladder; 0 the fastest, -1 the most accurate; beyond the ends = the nearest.
        reject: Whether a request that this variant would answer too late is refused instead of served late.
        unsure: Assumed slowdown where none was measured in the last 5 s.
    """

    card: ClassVar[Card] = Card(
        name="fixed",
        says="Always the same variant; the baseline of every other policy.",
        paper="house rule",
        needs="measurements",
    )

    variant: int = 0
    reject: bool = True
    unsure: float = 1.0

    def __post_init__(self) -> None:
        positive("unsure", self.unsure)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`."""
        index = clamped(self.variant if self.variant >= 0 else len(ladder) + self.variant, ladder)
        slowdown = slowdown_of(state, self.unsure)
        # A slowdown that cannot be says nothing: plan as profiled.
        service_s = ladder[index].p95_ms * (slowdown if slowdown > 0 else 1.0) / 1000
        if self.reject and not in_time(state, service_s):
            return Decision(index, "late", False)
        return Decision(index, "fixed")
