# SPDX-License-Identifier: Apache-2.0
"""Keep, or bring back, the weights whose loss is steepest: what RigL grows by."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.sparsity.criteria.shape import Criterion


@dataclass(frozen=True)
class Gradient(Criterion):
    """`|gradient|`, element by element; the weight itself does not count."""

    card: ClassVar[Card] = Card(
        name="gradient",
        says="The absolute value of the loss gradient, of removed weights too.",
        paper="Evci et al., ICML 2020",
        link="https://arxiv.org/abs/1911.11134",
        needs="gradients",
    )

    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """See `Criterion.score`; `stat` is the gradient, dense."""
        if stat is None:
            raise BadValue("stat", stat, "the gradient of the weight")
        # A weight that is NaN has to show.
        return stat.detach().float().abs() + 0 * weight.detach().float()
