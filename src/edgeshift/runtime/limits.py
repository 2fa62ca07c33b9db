# SPDX-License-Identifier: Apache-2.0
"""What every policy checks alike: readings worth trusting, requests that can still be in time, the dwell."""

import math
from functools import cache

from edgeshift.core.errors import BadValue
from edgeshift.core.registry import Shelf
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State

# Older than this, a reading says nothing about the device any more.
MAX_AGE_S = 5.0
# Beyond that age, what a device was slower than profiled counts half as much after each such time: where every request
# is refused nothing is measured any more, and one has to be let in to find out.
HALVES_S = 5.0
# Service time over profiled time outside of this is a broken clock, not a slow device.
SLOWDOWNS = (0.01, 1000.0)
# Queues and rates beyond this are counting errors: no device of ours takes a billion requests a second.
MAX_LOAD = 1e8


def trusted(state: State, sensor: str, low: float, high: float) -> float | None:
    """The sensor's value; None if it is missing, older than `MAX_AGE_S`, not a number or not in low..high."""
    reading = state.sensors.get(sensor)
    if reading is None or not 0 <= reading.age_s <= MAX_AGE_S or not low <= reading.value <= high:
        return None
    return reading.value


def slowdown_of(state: State, unsure: float, *, fades: bool = True) -> float:
    """Service time over profiled time, to plan with; nan if what was measured cannot be.

    Args:
        state: What is known.
        unsure: A device that was never measured, or not in the last `MAX_AGE_S`, is taken to be this much slower
            than profiled, or than it was when it was slower.
        fades: The latter counts for less and less; not for a policy that probes.
    """
    if not SLOWDOWNS[0] <= state.slowdown <= SLOWDOWNS[1]:
        return math.nan
    if 0 <= state.slowdown_age_s <= MAX_AGE_S:
        return state.slowdown
    faded = math.pow(0.5, max(0.0, state.slowdown_age_s - MAX_AGE_S) / HALVES_S) if fades else 1.0
    return (1 + (max(state.slowdown, 1.0) - 1) * faded) * unsure


def loads_are_sane(state: State) -> bool:
    """Whether queue, rate and waiting time are numbers that can be."""
    return 0 <= state.queued <= MAX_LOAD and 0 <= state.rate <= MAX_LOAD and 0 <= state.waited_s <= MAX_LOAD


def in_time(state: State, latency_s: float) -> bool:
    """Whether an answer that takes `latency_s` from here on meets the deadline; not for a nan."""
    return state.waited_s + latency_s <= state.deadline_s


def answered_by(
    inner: str | Policy, state: State, ladder: Ladder, top: int, cause: str, memory: tuple[float, ...] = ()
) -> Decision:
    """What the inner policy wants at or below `top`; what it remembers goes behind `memory`.

    Args:
        inner: Policy or its name.
        state: Its memory is what the inner policy remembers.
        ladder: All that there is.
        top: Highest index allowed.
        cause: Of a decision that the cap was in the way of.
        memory: Of the cap itself.
    """
    seen, lower = under(top, state, ladder)
    found = inner_of(inner).choose(seen, lower)
    capped = found.admit and found.variant == len(lower) - 1 < len(ladder) - 1
    return Decision(found.variant, cause if capped else found.cause, found.admit, memory + found.memory)


def settled(wanted: int, active: int, since_switch_s: float, dwell_s: float) -> int:
    """The wanted variant; the active one instead of a larger one until the dwell has passed."""
    return wanted if wanted <= active or since_switch_s >= dwell_s else active


def clamped(index: int, ladder: Ladder) -> int:
    """The index, or the nearest that the ladder has."""
    return max(0, min(index, len(ladder) - 1))


def positive(what: str, value: float) -> None:
    """Nothing, or BadValue unless the value is a finite number above 0."""
    if not 0 < value < math.inf:
        raise BadValue(what, value, "a finite number above 0")


def from_zero(what: str, value: float) -> None:
    """Nothing, or BadValue unless the value is a finite number from 0."""
    if not 0 <= value < math.inf:
        raise BadValue(what, value, "a finite number from 0")


def share(what: str, value: float) -> None:
    """Nothing, or BadValue unless 0 < value <= 1."""
    if not 0 < value <= 1:
        raise BadValue(what, value, "above 0 and at most 1")


@cache
def _made(name: str) -> Policy:
    policy: Policy = Shelf("policy", "runtime/policies").make(name)
    return policy


def inner_of(inner: str | Policy) -> Policy:
    """The policy that a cap passes its requests on to.

    Raises:
        UnknownName: If there is none of that name.
    """
    return _made(inner) if isinstance(inner, str) else inner


def sensors_of(policy: Policy) -> tuple[str, ...]:
    """Names of the sensors that a policy and those inside it need, without repeats."""
    found: dict[str, None] = dict.fromkeys(policy.sensors)
    inner = getattr(policy, "inner", None)
    if inner is not None:
        found |= dict.fromkeys(sensors_of(inner_of(inner)))
    return tuple(found)


def rung(part: float, ladder: Ladder) -> int:
    """The highest index at which at most this part of the ladder is climbed; 0 for a nan."""
    top = len(ladder) - 1
    if not part > 0:
        return 0
    return top if part >= 1 else int(part * top)


def under(top: int, state: State, ladder: Ladder) -> tuple[State, Ladder]:
    """State and ladder as a policy sees them that may not choose above `top`."""
    if top >= len(ladder) - 1:
        return state, ladder
    lower = Ladder(ladder.profiles[: max(0, top) + 1])
    return state.but(active=min(state.active, len(lower) - 1)), lower
