# SPDX-License-Identifier: Apache-2.0
"""Keep the weights whose removal would change the loss most, to first order."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.sparsity.criteria.shape import Criterion


@dataclass(frozen=True)
class Taylor(Criterion):
    """`|weight * gradient|`, element by element.

    Attributes:
        signed: Leave out the absolute value: changes of several weights add up before it is taken, as the
            paper does for whole channels.
    """

    card: ClassVar[Card] = Card(
        name="taylor",
        says="First-order change of the loss if the weight goes.",
        paper="Molchanov et al., CVPR 2019",
        link="https://arxiv.org/abs/1906.10771",
        needs="gradients",
    )

    signed: bool = False

    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """See `Criterion.score`; `stat` is the gradient."""
        if stat is None:
            raise BadValue("stat", stat, "the gradient of the weight")
        change = weight.detach().float() * stat.detach().float()
        return change if self.signed else change.abs()
