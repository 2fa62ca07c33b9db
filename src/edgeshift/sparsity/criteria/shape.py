# SPDX-License-Identifier: Apache-2.0
"""The contract of a criterion."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card

NOUN = "criterion"


class Criterion(ABC):
    """Scores every element of a weight; a pattern decides what the scores remove."""

    card: ClassVar[Card]

    @abstractmethod
    def score(self, weight: Tensor, stat: Tensor | None = None) -> Tensor:
        """How much each element matters; higher = keep.

        Args:
            weight: Any shape and floating dtype; not changed.
            stat: What else the criterion needs (see `card.needs`), of the weight's shape.

        Returns:
            The weight's shape, float32, without gradient. A weight with NaN gives a score with NaN,
            which every pattern refuses.

        Raises:
            BadValue: If the criterion needs `stat` and got none.
        """
