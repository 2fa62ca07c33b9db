# SPDX-License-Identifier: Apache-2.0
"""Whole channels go, with every row that makes them: what any device can run faster."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity.patterns.shape import GONE, Pattern, best, check

COSTS = ("macs", "channels")
REDUCTIONS = ("l2", "mean")
NORMALISERS = ("size", "group", "none")


@dataclass(frozen=True)
class Channel(Pattern):
    """The highest scoring channels of all groups together.

    A channel's score gathers the elementwise scores of its rows. A removed channel loses all its rows,
    norm scale and shift and biases included, so that it is constant zero and can be cut out exactly.

    With `cost="macs"` the best channels stay as long as their MACs fit into `keep` of all groups' MACs.
    A channel is charged what it costs in the whole network; a convolution whose inputs and outputs are
    both cut gets cheaper than that, so the share that a count of the shrunk model finds is lower.

    Attributes:
        cost: What `keep` is a fraction of: "macs" or "channels".
        reduce: How a channel's rows become one number: "l2" or "mean".
        normalise: Makes groups comparable. "size": each parameter's part is divided by its elements per
            channel (root mean square, or mean). "group": then by the group's mean over channels; without
            it, layers whose weights are small by nature are cut to their floor first. "none": plain norm
            or sum.
        vectors: Whether biases and norm scales and shifts count in the score, not only weights.
        floor: Fraction of each group's channels that stays whatever its scores; at least one always does.
    """

    card: ClassVar[Card] = Card(
        name="channel",
        says="Whole channels with all that makes them, over all layers together; shrinks on any device.",
        paper="Li et al., ICLR 2017",
        link="https://arxiv.org/abs/1608.08710",
    )

    cost: str = "macs"
    reduce: str = "l2"
    normalise: str = "group"
    vectors: bool = False
    floor: float = 0.0

    def __post_init__(self) -> None:
        for what, value, known in (
            ("cost", self.cost, COSTS),
            ("reduce", self.reduce, REDUCTIONS),
            ("normalise", self.normalise, NORMALISERS),
        ):
            if value not in known:
                raise BadValue(what, value, f"one of {', '.join(known)}")
        if not 0 <= self.floor <= 1:
            raise BadValue("floor", self.floor, "0 to 1")

    def covers(self, weights: Sequence[str], groups: tuple[ChannelGroup, ...]) -> tuple[str, ...]:
        """See `Pattern.covers`; every parameter that has rows in a group."""
        names = dict.fromkeys(name for group in groups for name in group.rows)
        if not names:
            raise BadValue("channel groups", (), "at least one; this model has no channel that may go")
        return tuple(names)

    def masks(
        self, scores: Mapping[str, Tensor], keep: float, groups: tuple[ChannelGroup, ...] = ()
    ) -> dict[str, Tensor]:
        """See `Pattern.masks`; `keep` is of `cost`, and the floors stay first."""
        check(scores, keep)
        names = self.covers(tuple(scores), groups)
        if unknown := [name for name in scores if name not in names] + [n for n in names if n not in scores]:
            raise BadValue("scores", unknown[0], "one for every parameter of the channel groups and no other")
        sizes = [group.channels for group in groups]
        ranked = torch.cat([self.rank(scores, group) for group in groups])
        forced = torch.cat([self.forced(part) for part in torch.split(ranked, sizes)])
        chosen = self.choose(ranked, forced, keep, groups)
        masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
        for group, part in zip(groups, torch.split(chosen, sizes), strict=True):
            for name, rows in group.rows.items():
                masks[name][torch.from_numpy(rows[(~part).numpy()]).flatten()] = False
        return masks

    def rank(self, scores: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
        """`(channels,)`, float64: the score of each channel; minus infinity where any row is gone."""
        parts, gone = [], torch.zeros(group.channels, dtype=torch.bool)
        counted = [n for n in group.rows if self.vectors or scores[n].ndim > 1]
        for name in counted or list(group.rows):  # a group of vectors alone is scored by them
            rows = torch.from_numpy(group.rows[name])
            values = scores[name].double()[rows.flatten()].reshape(group.channels, -1)
            gone |= (values == GONE).any(1)
            power = values.square() if self.reduce == "l2" else values
            parts.append(power.sum(1) if self.normalise == "none" else power.mean(1))
        total = torch.stack(parts).sum(0) if self.normalise == "none" else torch.stack(parts).mean(0)
        total = total.sqrt() if self.reduce == "l2" else total
        if self.normalise == "group" and (~gone).any() and (mean := total[~gone].mean()) > 0:
            total = total / mean
        return total.masked_fill(gone, GONE)

    def forced(self, ranked: Tensor) -> Tensor:
        """`(channels,)`, bool: the best channels of one group that make up its floor."""
        left = int((ranked != GONE).sum())
        return best(ranked, min(left, max(1, math.ceil(self.floor * ranked.numel()))))

    def choose(self, ranked: Tensor, forced: Tensor, keep: float, groups: tuple[ChannelGroup, ...]) -> Tensor:
        """`(all channels,)`, bool: the floors and then the best of the rest that `keep` pays for."""
        if self.cost == "channels":
            count = round(keep * ranked.numel())
            if count < int(forced.sum()):
                least = int(forced.sum()) / ranked.numel()
                raise BadValue("keep", keep, f"at least {least:.6g}, what the floors keep")
            return best(ranked.masked_fill(forced, float("inf")), count)
        price = torch.cat([torch.full((g.channels,), g.macs, dtype=torch.float64) for g in groups])
        # A millionth of a channel: keep = 0.3 must pay for exactly 3 of 10 whatever the rounding of the sum.
        budget = keep * float(price.sum()) + 1e-6 * float(price.max())
        if float(price[forced].sum()) > budget:
            least = float(price[forced].sum() / price.sum())
            raise BadValue("keep", keep, f"at least {least:.6g}, what the floors keep")
        order = torch.argsort(ranked.masked_fill(forced, float("inf")), descending=True, stable=True)
        order = order[ranked[order] != GONE]
        chosen = torch.zeros_like(forced)
        chosen[order[price[order].cumsum(0) <= budget]] = True
        return chosen
