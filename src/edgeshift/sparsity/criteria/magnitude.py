# SPDX-License-Identifier: Apache-2.0
"""Keep the weights that are largest in absolute value."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.sparsity.criteria.shape import Criterion


@dataclass(frozen=True)
class Magnitude(Criterion):
    """`|weight|`, element by element."""

    card: ClassVar[Card] = Card(
        name="magnitude",
        says="The absolute value of each weight.",
        paper="Han et al., NeurIPS 2015",
        link="https://arxiv.org/abs/1506.02626",
        needs="weights",
    )

    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """See `Criterion.score`."""
        return weight.detach().float().abs()
