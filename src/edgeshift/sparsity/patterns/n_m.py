# SPDX-License-Identifier: Apache-2.0
"""At most N of every M neighbours stay: the shape that sparse tensor cores take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity.neighbours import from_groups, in_groups
from edgeshift.sparsity.patterns.shape import GONE, Pattern, check


@dataclass(frozen=True)
class NM(Pattern):
    """The N best of every M weights along the input axis, where N is what `keep` pays for: `floor(keep * m)`.

    Groups run along the input channels of one output channel and kernel position. What is left over where
    `m` does not divide the inputs stays whole, and with it layers of fewer than `m` inputs.

    Attributes:
        m: Length of a group, 2 to 16.
    """

    card: ClassVar[Card] = Card(
        name="n_m",
        says="N of every M neighbours along the inputs, such as 2:4; what sparse tensor cores run.",
        paper="Mishra et al., 2021",
        link="https://arxiv.org/abs/2104.08378",
    )

    m: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 16:
            raise BadValue("m", self.m, "2 to 16")

    def n_of(self, keep: float) -> int:
        """Weights that stay of every `m`.

        Raises:
            BadValue: If not even one does.
        """
        # 1e-9: three quarters as a sum of floats are three of four.
        n = int(keep * self.m + 1e-9)
        if n < 1:
            raise BadValue("keep", keep, f"at least {1 / self.m:.6g}, one of every {self.m}")
        return n

    def covers(self, weights: Sequence[str], groups: tuple[ChannelGroup, ...]) -> tuple[str, ...]:
        """See `Pattern.covers`; all weights, groups do not matter."""
        if not weights:
            raise BadValue("weights to mask", [], "at least one convolution or linear weight")
        return tuple(weights)

    def masks(
        self, scores: Mapping[str, Tensor], keep: float, groups: tuple[ChannelGroup, ...] = ()
    ) -> dict[str, Tensor]:
        """See `Pattern.masks`; equal scores are decided by position within the group."""
        check(scores, keep)
        n = self.n_of(keep)
        return {name: self.mask(score, n) for name, score in scores.items()}

    def mask(self, score: Tensor, n: int) -> Tensor:
        """The mask of one tensor, `n` true in every full group; see `masks`."""
        grouped = in_groups(score, self.m)
        order = grouped.argsort(dim=1, descending=True, stable=True)[:, :n]
        chosen = torch.zeros_like(grouped, dtype=torch.bool).scatter_(1, order, True)
        whole = torch.ones_like(score, dtype=torch.bool)
        return from_groups(chosen, whole, self.m) & (score != GONE)
