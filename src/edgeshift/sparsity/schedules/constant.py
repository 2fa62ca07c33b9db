# SPDX-License-Identifier: Apache-2.0
"""Remove all at the first step."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.sparsity.schedules.shape import Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """`final`, from step 0 on."""

    card: ClassVar[Card] = Card(
        name="constant",
        says="Everything that has to go goes at the first step.",
        paper="house rule",
    )

    def at(self, done: float, final: float) -> float:
        """See `Schedule.at`."""
        return final
