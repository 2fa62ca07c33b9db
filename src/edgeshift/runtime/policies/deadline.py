# SPDX-License-Identifier: Apache-2.0
"""The variant whose gain in accuracy is worth its time, among those that keep the deadline."""

import math
from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.runtime.limits import clamped, from_zero, in_time, loads_are_sane, settled, share, slowdown_of
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State

# Steps of the backlog for which the risk is learned. 16 gained nothing on the tuning traces.
STEPS = 8
# Before anything is learned, the risk rises with this power of the backlog: little until half full.
RISE = 4.0
PRIOR = tuple(((step + 0.5) / STEPS) ** RISE for step in range(STEPS))
# Nobody waits and this request waited for less than this share of the smallest service: the device was idle.
IDLE = 0.25
# Without a deadline that bounds it, a backlog of so many smallest services is full: below the Switcher's queue limit.
PATIENCE = 100.0
# Places of the memory: the risk of each step, then the steps seen since the device was idle, as bits.
REMEMBERED = STEPS + 1


@dataclass(frozen=True)
class Deadline(Policy):
    """Prices time by the risk that it makes a later request late.

    With w = time waited, D = deadline, s = p95 of a variant times the slowdown, q = requests behind, the backlog is
    W = w + q s_min. A variant may be chosen if `W + s <= margin D`: this request is in time, and so are those behind if
    all take the smallest. Among these it takes the largest `accuracy - risk a_min (s - s_min) / s_min`:
    a moment spent here is lost only if the backlog reaches the deadline before the device is idle again; then
    it costs as many answers of the smallest variant, accuracy a_min, as would have fitted into it.

    The risk of that is learned for 8 steps of the backlog: when the device is idle again, the risk of all steps seen
    since moves towards 0, and when a request has to be refused, towards 1. So bursts, which no rate shows, are
    paid for by what they did before. Steps that were not seen fade: each time the device is idle again without a loss,
    their risk sinks a little from where it began, so that a steady load is not made to pay for bursts that never come;
    what a loss raised above that stays. It is at least `exp(-theta (D - W))`, the heavy-traffic tail of a queue of
    smallest services at the arrival rate, and 1 where the smallest variant cannot keep up with the rate.

    "Smallest" above is the variant with the most accuracy per time, mostly variant 0. Smaller ones earn less than the
    requests behind would: variant 0 answers what that one cannot answer in time only if nobody waits. What is left is
    refused. Smaller at once, larger only after the dwell.

    It needs no sensor but its own service times. Where those are older than 5 s, as after a pause, the device is
    taken to be `unsure` times slower than profiled: a service that is asked once a minute keeps its accuracy if
    the deadline leaves that room. Numbers that cannot be end at variant 0.

    Attributes:
        margin: Of the deadline, 0..1; the rest is for what the p95 does not cover.
        dwell_s: Seconds after a switch before a larger variant may be chosen. 0, for a switch between warm variants
            is one store, and on the tuning traces 50 ms cost 0.4 points; give it seconds where variants are opened
            on demand.
        unsure: Assumed slowdown where none was measured in the last 5 s, 1 or more.
        weight: Of the newest outcome in the learned risk, 0..1.
        fade: Share of the risk that a step loses which was not seen, 0 to below 1: 0.01 to 0.05 gained 0.03 to 0.2
            points on the smooth tuning traces and nothing on the bursts.
        reject: Whether a request that cannot be in time is refused instead of served late.
        probe_s: Where nothing was measured for this long, a request that would be in time at the profiled speed
            is admitted whatever the slowdown was: who refuses everything never learns that the device recovered.
    """

    card: ClassVar[Card] = Card(
        name="deadline",
        says="Most accuracy in time: prices a variant's time by the learned risk of late requests.",
        paper="house rule",
        needs="measurements",
    )

    margin: float = 0.95
    dwell_s: float = 0.0
    unsure: float = 1.5
    weight: float = 0.1
    fade: float = 0.02
    reject: bool = True
    probe_s: float = 0.1

    def __post_init__(self) -> None:
        share("margin", self.margin)
        share("weight", self.weight)
        from_zero("dwell_s", self.dwell_s)
        if not 0 <= self.fade < 1:
            raise BadValue("fade", self.fade, "0 to below 1")
        from_zero("probe_s", self.probe_s)
        if not 1 <= self.unsure < math.inf:
            raise BadValue("unsure", self.unsure, "a finite number from 1")

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`. Remembers the risks and the steps of the backlog since the device was idle."""
        slowdown = slowdown_of(state, self.unsure, fades=False)
        memory = state.memory if len(state.memory) == REMEMBERED else (*PRIOR, 0.0)
        if not (slowdown > 0 and loads_are_sane(state)):
            return Decision(0, "unsure", state.deadline_s > 0 or not self.reject, memory)
        base = _base(ladder)
        smallest, largest = ladder.profiles[base], ladder.profiles[-1]
        bounded_s = max(PATIENCE * smallest.p95_ms, 2 * largest.p95_ms) / 1000
        end_s = min(self.margin * state.deadline_s, bounded_s)
        service_s = smallest.p95_ms * slowdown / 1000
        backlog_s = state.waited_s + state.queued * smallest.latency_ms * slowdown / 1000
        late = not in_time(state, service_s)
        room_s = end_s - service_s
        full = backlog_s / room_s if room_s > 0 else math.inf
        step = STEPS - 1 if full >= 1 else int(full * STEPS)
        # An endless deadline is never missed: there a full backlog is what must not be.
        lost = late or (end_s == bounded_s and full >= 1)
        idle = not state.queued and state.waited_s * 1000 < IDLE * smallest.latency_ms
        following = self._learned(memory, step, lost=lost, idle=idle)
        if late and self.reject:
            fastest_s = ladder.profiles[0].p95_ms / 1000
            if state.slowdown_age_s > self.probe_s and in_time(state, fastest_s):
                return Decision(0, "probe", True, following)
            # Below the base, time earns less than with those that wait: only where nobody does.
            spare = base > 0 and not state.queued and in_time(state, fastest_s * slowdown)
            return Decision(0, "late", spare, following)
        risk = 1.0
        if full < 1:
            busy = state.rate * smallest.latency_ms * slowdown / 1000
            risk = max(max(memory[: step + 1]), _tail(busy, (room_s - backlog_s) / service_s))
        wanted, cause = _dearest(ladder, base, slowdown / 1000, end_s, backlog_s, risk)
        chosen = settled(wanted, clamped(state.active, ladder), state.since_switch_s, self.dwell_s)
        return Decision(chosen, cause if chosen == wanted else "dwell", True, following)

    def _learned(self, memory: tuple[float, ...], step: int, *, lost: bool, idle: bool) -> tuple[float, ...]:
        """What to remember after this request; its outcome counts from the next one on."""
        seen = int(memory[STEPS])
        if seen and (lost or idle):
            outcome, weight = float(lost), self.weight
            left = 1.0 if lost else 1 - self.fade
            risks = [
                r + weight * (outcome - r) if seen >> i & 1 else r * left if r <= first else r
                for i, (r, first) in enumerate(zip(memory[:STEPS], PRIOR, strict=True))
            ]
            return (*risks, 0.0 if lost else float(1 << step))
        if lost or seen >> step & 1:
            return memory
        return (*memory[:STEPS], float(seen | 1 << step))


def _base(ladder: Ladder) -> int:
    """The variant that earns most accuracy per time: where all time is taken, a smaller one earns less."""
    worth = [profile.accuracy / profile.latency_ms for profile in ladder.profiles]
    return worth.index(max(worth))


def _tail(busy: float, services_left: float) -> float:
    """Chance that a queue, busy for this share of the time, grows by so many services before it is empty."""
    if busy >= 1:
        return 1.0
    return math.exp(-2 * (1 - busy) / busy * services_left) if busy > 0 else 0.0


def _dearest(
    ladder: Ladder, base: int, scale: float, end_s: float, backlog_s: float, risk: float
) -> tuple[int, str]:
    """The index that is worth most, and what kept larger ones out."""
    smallest = ladder.profiles[base]
    price = risk * smallest.accuracy / smallest.latency_ms
    best, wanted, cause = 0.0, base, "room"
    for index in range(base + 1, len(ladder.profiles)):
        profile = ladder.profiles[index]
        if not backlog_s + profile.p95_ms * scale <= end_s:
            cause = "deadline"
            break
        worth = profile.accuracy - smallest.accuracy - price * (profile.latency_ms - smallest.latency_ms)
        if worth > best:
            best, wanted = worth, index
        else:
            cause = "load"
    return wanted, "room" if wanted == len(ladder.profiles) - 1 else cause
