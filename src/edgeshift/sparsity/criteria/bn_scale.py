# SPDX-License-Identifier: Apache-2.0
"""Keep the channels whose batch-norm scale is large."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.sparsity.criteria.shape import Criterion


@dataclass(frozen=True)
class BnScale(Criterion):
    """`|scale|` of the channel that a row makes, the same for every element of the row.

    Says something once training pulled the scales towards zero; see the method `network_slimming`.
    """

    card: ClassVar[Card] = Card(
        name="bn_scale",
        says="The batch-norm scale of the channel, trained to be near zero where it is not needed.",
        paper="Liu et al., ICCV 2017",
        link="https://arxiv.org/abs/1708.06519",
        needs="training",
    )

    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """See `Criterion.score`; `stat` is the scale, spread over the weight's shape."""
        if stat is None:
            raise BadValue("stat", stat, "the scale of each element's channel")
        return stat.detach().float().abs() + 0 * weight.detach().float()
