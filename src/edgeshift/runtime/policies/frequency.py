# SPDX-License-Identifier: Apache-2.0
"""The variant that keeps its latency at the present clock."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.runtime.limits import MAX_AGE_S, SLOWDOWNS, answered_by, from_zero, share, trusted
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, Profile, State

# No governor goes below a twentieth of the full clock; above full is boost.
LOWEST, HIGHEST = 0.05, 1.5
# Zero is a broken sensor.
TINY = 1e-6
# How much a point counts after one more came: half after 700; of a variant that is not the one serving, after 140.
KEPT, LEFT = 0.999, 0.995
# Points and variance of 1/f before the fit is used: three clocks 0.2 apart give 0.1.
ENOUGH, SPREAD = 30.0, 0.01
# Answers of one variant at one clock before its slowdown counts: what is smoothed at 0.3 then holds under 3 % of
# the variant or the clock before.
STEADY = 10
# So many points of its own weigh as much in a variant's level as what its profile or the other variants say.
PRIOR = 10.0
# What is remembered: clock, variant, answers since either changed; then five sums of all variants and of each.
HEAD, SUMS = 3, 5


@dataclass(frozen=True)
class Frequency(Policy):
    """A cap on another policy: the largest variant whose predicted latency at this clock is under the target.

    The clock is the sensor `cpufreq`; without one that can be trusted, the own slowdown of the last 5 s stands for it.
    A variant takes `a / f + b`: at first with `b` = the profile's `fixed_ms`, then with the share that all
    variants together show, and with its own as soon as it was seen at clocks enough. Shares are fitted by least
    squares with forgetting to the slowdowns seen while clock and variant stay. The same points say, from the first
    clock on, by how much a variant and all of them are slower or faster than their profiles: one that was timed with
    cold caches or on a busy device serves faster. A variant that was left is forgotten in time, and tried again.
    Dynamic frequency then changes the variant instead of the latency, as in the paper, whose table is here a formula.

    Attributes:
        inner: Policy that chooses below the cap, or its name.
        target_ms: Latency to stay under; 0 = `margin` of the request's deadline.
        margin: Of the deadline, 0..1.
        band: Share of the target that a larger variant than the active one must leave free, 0 to below 1: what
            changes by less makes no switch. One that was not seen yet beside a clock is tried as soon as it fits.
    """

    card: ClassVar[Card] = Card(
        name="frequency",
        says="The largest variant under the target at the present clock, around another policy.",
        paper="Gong et al., 2022 (All-in-One)",
        link="https://arxiv.org/abs/2212.05122",
        needs="measurements",
    )
    sensors: ClassVar[tuple[str, ...]] = ("cpufreq",)

    inner: str | Policy = "deadline"
    target_ms: float = 0.0
    margin: float = 0.85
    band: float = 0.01

    def __post_init__(self) -> None:
        from_zero("target_ms", self.target_ms)
        share("margin", self.margin)
        if not 0 <= self.band < 1:
            raise BadValue("band", self.band, "0 to below 1")

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`. Remembers the sums of the fits; this request's point counts from the next on."""
        size = HEAD + SUMS * (1 + len(ladder))
        memory = state.memory[:size] if len(state.memory) >= size else (0.0,) * size
        rest = state.but(memory=state.memory[size:])
        clock = trusted(state, "cpufreq", TINY, HIGHEST)
        too_low = clock is not None and clock < LOWEST  # very slow or broken: no reason for a larger variant
        fresh = 0 <= state.slowdown_age_s <= MAX_AGE_S and SLOWDOWNS[0] <= state.slowdown <= SLOWDOWNS[1]
        if too_low or (clock is None and not fresh):
            return answered_by(self.inner, rest, ladder, 0, "clock unknown", memory)
        target_ms = self.target_ms or self.margin * 1000 * state.deadline_s
        top = 0
        for index in range(len(ladder) - 1, 0, -1):
            own = memory[HEAD + SUMS * (1 + index)]
            known = clock is None or own >= PRIOR
            under_ms = target_ms * (1 - self.band) if known and index > state.active else target_ms
            if _predicted_ms(ladder.profiles[index], index, clock, state.slowdown, memory) <= under_ms:
                top = index
                break
        if clock is not None and fresh:
            memory = _learned(memory, clock, state)
        return answered_by(self.inner, rest, ladder, top, "clock", memory)


def _learned(memory: tuple[float, ...], clock: float, state: State) -> tuple[float, ...]:
    """The sums with one more point, if clock and variant have been the same for long enough."""
    same = memory[0] == clock and memory[1] == state.active
    steady = min(memory[2] + 1, STEADY) if same else 0.0
    head = (clock, float(state.active), steady)
    if steady < STEADY:
        return head + memory[HEAD:]
    x, y = 1 / clock, state.slowdown
    counting = (0, SUMS * (1 + state.active))
    sums = [(KEPT if k - k % SUMS in counting else LEFT) * value for k, value in enumerate(memory[HEAD:])]
    for start in counting:
        for place, value in enumerate((1.0, x, y, x * x, x * y), start):
            sums[place] += value
    return (*head, *sums)


def _predicted_ms(
    profile: Profile, index: int, clock: float | None, slowdown: float, memory: tuple[float, ...]
) -> float:
    """The variant's latency at that clock; at that slowdown if the clock is unknown."""
    if clock is None:
        return profile.latency_ms * slowdown
    start = HEAD + SUMS * (1 + index)
    every, own = memory[HEAD : HEAD + SUMS], memory[start : start + SUMS]
    level, share = 1.0, profile.fixed_ms / profile.latency_ms
    if (fit := _fit(own)) is not None:
        return profile.latency_ms * (fit[0] / clock + fit[1])
    moving, fixed = _fit(every) or (1 - share, share)
    for n, x, y, _, _ in (every, own):
        level = (PRIOR * level + y) / (PRIOR + moving * x + fixed * n)
    return profile.latency_ms * level * (moving / clock + fixed)


def _fit(sums: tuple[float, ...]) -> tuple[float, float] | None:
    """What of the profiled latency moves with 1/f, and what does not; None where too little was seen."""
    n, x, y, xx, xy = sums
    if n < ENOUGH or (variance := xx / n - (x / n) ** 2) < SPREAD:
        return None
    moving = max(0.0, (xy / n - x * y / n**2) / variance)
    return moving, max(0.0, y / n - moving * x / n)
