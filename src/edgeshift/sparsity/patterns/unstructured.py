# SPDX-License-Identifier: Apache-2.0
"""Any weight may go, wherever it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity.patterns.shape import Pattern, best, check


@dataclass(frozen=True)
class Unstructured(Pattern):
    """The highest scores of all tensors together; exactly `round(keep * elements)` stay."""

    card: ClassVar[Card] = Card(
        name="unstructured",
        says="Single weights, chosen over all layers together; keeps the most accuracy.",
        paper="Han et al., NeurIPS 2015",
        link="https://arxiv.org/abs/1506.02626",
    )

    def covers(self, weights: Sequence[str], groups: tuple[ChannelGroup, ...]) -> tuple[str, ...]:
        """See `Pattern.covers`; all weights, groups do not matter."""
        if not weights:
            raise BadValue("weights to mask", [], "at least one convolution or linear weight")
        return tuple(weights)

    def masks(
        self, scores: Mapping[str, Tensor], keep: float, groups: tuple[ChannelGroup, ...] = ()
    ) -> dict[str, Tensor]:
        """See `Pattern.masks`; `keep` is of all elements."""
        check(scores, keep)
        everything = torch.cat([score.flatten() for score in scores.values()])
        chosen = best(everything, round(keep * everything.numel()))
        pieces = torch.split(chosen, [score.numel() for score in scores.values()])
        return {n: piece.reshape(s.shape) for (n, s), piece in zip(scores.items(), pieces, strict=True)}
