# SPDX-License-Identifier: Apache-2.0
"""Scores that know nothing: the baseline every criterion has to beat."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.seeds import seed_for
from edgeshift.sparsity.criteria.shape import Criterion


@dataclass(frozen=True)
class Random(Criterion):
    """Uniform scores drawn from the seed and the weight's own bytes.

    The bytes tell equally shaped layers apart, so that no two layers get the same scores.

    Attributes:
        seed: Equal seeds give equal scores for equal weights.
    """

    card: ClassVar[Card] = Card(
        name="random",
        says="A seeded draw; the baseline every criterion has to beat.",
        paper="house rule",
        needs="weights",
    )

    seed: int = 0

    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """See `Criterion.score`; uniform in 0..1, NaN where the weight is NaN."""
        values = weight.detach().float().contiguous()
        digest = hashlib.sha256(values.numpy().tobytes()).hexdigest()
        generator = torch.Generator().manual_seed(seed_for(self.seed, "random", tuple(weight.shape), digest))
        return torch.rand(weight.shape, generator=generator).masked_fill(values.isnan(), float("nan"))
