# SPDX-License-Identifier: Apache-2.0
"""Remove much early and little at the end."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.sparsity.schedules.shape import Schedule


@dataclass(frozen=True)
class Cubic(Schedule):
    """`final + (1 - final) * (1 - step / total) ** 3`."""

    card: ClassVar[Card] = Card(
        name="cubic",
        says="Much goes early, while the network can still mend, little at the end.",
        paper="Zhu and Gupta, ICLR workshop 2018",
        link="https://arxiv.org/abs/1710.01878",
    )

    def at(self, done: float, final: float) -> float:
        """See `Schedule.at`."""
        return final + (1 - final) * (1 - done) ** 3
