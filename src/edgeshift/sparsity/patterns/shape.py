# SPDX-License-Identifier: Apache-2.0
"""The contract of a pattern, and the exact choice that patterns share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue, NotFinite
from edgeshift.core.values import ChannelGroup

NOUN = "pattern"
# A score of GONE marks what an earlier level removed: it never comes back and is never counted as best.
GONE = float("-inf")


class Pattern(ABC):
    """Turns scores into masks that have a shape a device can use."""

    card: ClassVar[Card]

    @abstractmethod
    def covers(self, weights: Sequence[str], groups: tuple[ChannelGroup, ...]) -> tuple[str, ...]:
        """Names of the parameters that `masks` wants scores for.

        Args:
            weights: Names of the weights that may be masked.
            groups: Channel groups of the model.

        Raises:
            BadValue: If the pattern can do nothing with them.
        """

    @abstractmethod
    def masks(
        self, scores: Mapping[str, Tensor], keep: float, groups: tuple[ChannelGroup, ...] = ()
    ) -> dict[str, Tensor]:
        """The best valid masks for these scores, chosen over all tensors together.

        Args:
            scores: Parameter name -> score of each element, any shapes; higher = keep. Minus infinity
                marks what is gone already and must not come back.
            keep: Kept fraction, 0..1.
            groups: Channel groups of the model.

        Returns:
            For every name in `scores`, a bool tensor of that shape; True = kept. Equal scores are
            decided by position: the earlier tensor and element stays.

        Raises:
            BadValue: If `keep` is out of range or cannot be reached.
            NotFinite: If a score is NaN or plus infinity; the text names the tensor.
        """


def check(scores: Mapping[str, Tensor], keep: float) -> None:
    """What every pattern asks of its input; see `Pattern.masks`."""
    if not 0 <= keep <= 1:
        raise BadValue("keep", keep, "0 to 1")
    if not scores:
        raise BadValue("scores", {}, "at least one tensor")
    for name, score in scores.items():
        bad = score.isnan() | (score == float("inf"))
        if bad.any():
            raise NotFinite(f"score of {name} must be finite, got {score[bad][0].item()}")


def best(scores: Tensor, count: int) -> Tensor:
    """Exactly `count` of the highest scores; equal scores are decided by position, the first stays.

    Args:
        scores: `(n,)`, without NaN.
        count: 0 to n.

    Returns:
        `(n,)`, bool, exactly `count` true.

    Raises:
        BadValue: If `count` is more than the scores above minus infinity.
    """
    available = int((scores != GONE).sum())
    if not 0 <= count <= available:
        raise BadValue("number to keep", count, f"0 to the {available} that are left")
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    # The count-th largest value; sorting 15 M scores to break ties would take 10 times as long.
    edge = scores.kthvalue(scores.numel() - count + 1).values
    chosen = scores > edge
    ties = (scores == edge).nonzero().flatten()[: count - int(chosen.sum())]
    chosen[ties] = True
    return chosen
