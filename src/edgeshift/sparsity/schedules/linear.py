# SPDX-License-Identifier: Apache-2.0
"""Remove the same number of weights at every step."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.sparsity.schedules.shape import Schedule


@dataclass(frozen=True)
class Linear(Schedule):
    """`1 + (final - 1) * step / total`."""

    card: ClassVar[Card] = Card(
        name="linear",
        says="The same number of weights goes at every step.",
        paper="house rule",
    )

    def at(self, done: float, final: float) -> float:
        """See `Schedule.at`."""
        return 1 + (final - 1) * done
