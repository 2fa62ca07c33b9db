# SPDX-License-Identifier: Apache-2.0
"""Smaller variants as the battery empties."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.runtime.limits import answered_by, rung, trusted
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Decision, Ladder, State


@dataclass(frozen=True)
class Battery(Policy):
    """A cap on another policy: the whole ladder above `full_percent`, variant 0 at `empty_percent`, even steps between.

    Attributes:
        inner: Policy that chooses below the cap, or its name.
        full_percent: Charge from which nothing is capped.
        empty_percent: Charge at which only variant 0 is left.
    """

    card: ClassVar[Card] = Card(
        name="battery",
        says="Smaller variants as the battery empties, around another policy.",
        paper="house rule",
        needs="measurements",
    )
    sensors: ClassVar[tuple[str, ...]] = ("battery",)

    inner: str | Policy = "deadline"
    full_percent: float = 50.0
    empty_percent: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.empty_percent < self.full_percent <= 100:
            got = (self.empty_percent, self.full_percent)
            raise BadValue("empty_percent and full_percent", got, "0 to 100, the first below the second")

    def choose(self, state: State, ladder: Ladder) -> Decision:
        """See `Policy.choose`."""
        percent = trusted(state, "battery", 0, 100)
        if percent is None:
            return answered_by(self.inner, state, ladder, 0, "battery unknown")
        part = (percent - self.empty_percent) / (self.full_percent - self.empty_percent)
        return answered_by(self.inner, state, ladder, rung(part, ladder), "battery")
