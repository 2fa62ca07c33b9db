# SPDX-License-Identifier: Apache-2.0
"""Keep large weights, and of weights of one size those in strong channels: zeros gather in the others."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.sparsity.criteria.shape import Criterion


@dataclass(frozen=True)
class Concentrated(Criterion):
    """`|weight| * (row * column) ** power`, where row and column are their root mean squares over the layer's.

    With `power=0` this is magnitude. Single zeros spread over all channels free none; with the factor they
    fall together, whole rows and columns empty and can be cut out exactly.

    Attributes:
        power: How much a channel's strength counts beside the weight's own, 0 or more.
    """

    card: ClassVar[Card] = Card(
        name="concentrated",
        says="Magnitude that favours strong channels, so that zeros gather and empty the weak ones.",
        paper="house rule",
        needs="weights",
    )

    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.power < float("inf"):
            raise BadValue("power", self.power, "0 or more")

    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """See `Criterion.score`; vectors have rows only."""
        size = weight.detach().float().abs()
        if size.numel() == 0 or self.power == 0:
            return size
        strength = size.square().contiguous()
        whole = strength.mean().sqrt()
        factor = strength.flatten(1).mean(1).sqrt() if size.ndim > 1 else strength.sqrt()
        factor = factor.reshape(-1, *[1] * (size.ndim - 1)) / whole.clamp_min(1e-30)
        if size.ndim > 1:
            column = strength.transpose(0, 1).flatten(1).mean(1).sqrt()
            factor = factor * column.reshape(1, -1, *[1] * (size.ndim - 2)) / whole.clamp_min(1e-30)
        # NaN shows where the weight has it, not in its whole row.
        factor = factor.nan_to_num(0.0)
        return (size * factor**self.power).masked_fill(size.isnan(), float("nan"))
