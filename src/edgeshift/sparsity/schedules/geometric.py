# SPDX-License-Identifier: Apache-2.0
"""Remove the same share of what is left at every step."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.sparsity.schedules.shape import Schedule


@dataclass(frozen=True)
class Geometric(Schedule):
    """`final ** (step / total)`: with `final = 0.8 ** total` this is `0.8 ** step`."""

    card: ClassVar[Card] = Card(
        name="geometric",
        says="The same share of what is left goes at every step, such as 0.8 ** k.",
        paper="Frankle and Carbin, ICLR 2019",
        link="https://arxiv.org/abs/1803.03635",
    )

    def at(self, done: float, final: float) -> float:
        """See `Schedule.at`."""
        return float(final**done)
