# SPDX-License-Identifier: Apache-2.0
"""The largest variant that keeps this request, the queue behind it and the arrival rate in time."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.limits import (
    clamped,
    from_zero,
    in_time,
    loads_are_sane,
    positive,
    settled,
    share,
    slowdown_of,
)
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, Profile, State


@dataclass(frozen=True)
class Deadline(Policy):
    """Looks one step ahead, for each request anew.

    With w = time waited, D = deadline, s = p95 of a variant times the slowdown, q = requests behind, r = arrivals per
    second, it wants the largest variant with `w + s <= margin D` (this request), `s + q s_min <= margin D` (the
    queue, should all behind it take the smallest) and `r s < load` (the rate). Smaller at once, larger only after the
    dwell. A request that even the smallest would answer too late is not admitted.

    It needs no sensor but its own service times. Where those are older than 5 s, as after a pause, the device is
    taken to be `unsure` times slower than profiled: a service that is asked once a minute keeps its accuracy if
    the deadline leaves that room. Numbers that cannot be end at variant 0.

    Attributes:
        margin: Of the deadline, 0..1; the rest is for what the p95 does not cover.
        load: Largest share of time that a variant may be busy at the arrival rate, 0..1.
        dwell_s: Seconds after a switch before a larger variant may be chosen.
        unsure: Assumed slowdown where none was measured in the last 5 s, 1 or more.
        reject: Whether a request that cannot be in time is refused instead of served late.
    """

    card: ClassVar[Card] = Card(
        name="deadline",
        says="Largest variant that keeps request, queue and rate in time; late ones refused.",
        paper="house rule",
        needs="measurements",
    )

    margin: float = 0.85
    load: float = 0.85
    dwell_s: float = 0.5
    unsure: float = 1.5
    reject: bool = True

    def __post_init__(self) -> None:
        share("margin", self.margin)
        share("load", self.load)
        from_zero("dwell_s", self.dwell_s)
        positive("unsure", self.unsure)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`."""
        slowdown = slowdown_of(state, self.unsure)
        smallest_s = ladder[0].p95_ms * slowdown / 1000
        admit = in_time(state, smallest_s) or not self.reject
        if not (slowdown > 0 and loads_are_sane(state)):
            return Decision(0, "unsure", state.deadline_s > 0 or not self.reject)
        if not admit:
            return Decision(0, "late", False)
        wanted, cause = self._wanted(state, ladder.profiles, slowdown / 1000, smallest_s)
        active = clamped(state.active, ladder)
        chosen = settled(wanted, active, state.since_switch_s, self.dwell_s)
        return Decision(chosen, cause if chosen == wanted else "dwell")

    def _wanted(
        self, state: State, profiles: tuple[Profile, ...], scale: float, smallest_s: float
    ) -> tuple[int, str]:
        """The largest that fits, and what kept the next larger one out."""
        room_s = state.deadline_s * self.margin
        backlog_s = state.queued * smallest_s
        kept = "room"
        for index in range(len(profiles) - 1, 0, -1):
            service_s = profiles[index].p95_ms * scale
            if not state.waited_s + service_s <= room_s:
                kept = "deadline"
            elif not service_s + backlog_s <= room_s:
                kept = "backlog"
            elif not state.rate * service_s < self.load:
                kept = "rate"
            else:
                return index, kept
        return 0, kept
