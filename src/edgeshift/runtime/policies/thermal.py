# SPDX-License-Identifier: Apache-2.0
"""Smaller variants before the device gets so hot that it throttles."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.runtime.limits import MAX_AGE_S, answered_by, from_zero, rung, trusted
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State

# Colder or hotter than any chip that runs: a broken sensor.
PLAUSIBLE_C = (-40.0, 150.0)
# Sensors are read about once a second; a slope over less is their noise.
STEP_S = 1.0
# Weight of the newest slope: two readings in a row that rise count, one jitter does not.
WEIGHT = 0.5


@dataclass(frozen=True)
class Thermal(Policy):
    """A cap on another policy, by the temperature that the present slope leads to.

    The whole ladder while the forecast is below `warm_c`, variant 0 from `hot_c` on, even steps between. Shifting
    before the governor throttles keeps the clock, as in the paper; its forecast is here the slope of the last readings.

    Attributes:
        inner: Policy that chooses below the cap, or its name.
        warm_c: Degrees Celsius up to which nothing is capped.
        hot_c: Degrees Celsius from which only variant 0 is left; a little below the trip point.
        ahead_s: How far the slope is drawn out.
    """

    card: ClassVar[Card] = Card(
        name="thermal",
        says="Smaller variants before the device is so hot that it throttles, around another policy.",
        paper="Zhou et al., 2022 (Play It Cool)",
        link="https://arxiv.org/abs/2206.10849",
        needs="measurements",
    )
    sensors: ClassVar[tuple[str, ...]] = ("temperature",)

    inner: str | Policy = "deadline"
    warm_c: float = 65.0
    hot_c: float = 80.0
    ahead_s: float = 10.0

    def __post_init__(self) -> None:
        if not PLAUSIBLE_C[0] <= self.warm_c < self.hot_c <= PLAUSIBLE_C[1]:
            raise BadValue(
                "warm_c and hot_c", (self.warm_c, self.hot_c), "the first below the second, -40 to 150"
            )
        from_zero("ahead_s", self.ahead_s)

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`. Remembers when it looked, the temperature and the slope."""
        known, rest = state.memory[:3], state.but(memory=state.memory[3:])
        celsius = trusted(state, "temperature", *PLAUSIBLE_C)
        if celsius is None or not abs(state.now_s) < float("inf"):
            memory = (0.0, PLAUSIBLE_C[0], 0.0)
            return answered_by(self.inner, rest, ladder, 0, "temperature unknown", memory)
        at_s, before, slope = known if len(known) == 3 else (state.now_s, celsius, 0.0)
        passed_s = state.now_s - at_s
        if STEP_S <= passed_s <= MAX_AGE_S:
            slope += WEIGHT * ((celsius - before) / passed_s - slope)
            at_s, before = state.now_s, celsius
        elif not 0 <= passed_s < STEP_S:  # nothing was asked for long: the slope is history
            at_s, before, slope = state.now_s, celsius, 0.0
        forecast = celsius + self.ahead_s * max(0.0, slope)
        part = (self.hot_c - forecast) / (self.hot_c - self.warm_c)
        return answered_by(self.inner, rest, ladder, rung(part, ladder), "heat", (at_s, before, slope))
