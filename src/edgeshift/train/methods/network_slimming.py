# SPDX-License-Identifier: Apache-2.0
"""Pull batch-norm scales towards zero while training, then cut the channels whose scale got there, pass by pass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity import PATTERNS
from edgeshift.train.accuracy import NORMS
from edgeshift.train.cut import Cut
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run


@dataclass(frozen=True)
class NetworkSlimming(Method):
    """Every level is one pass: cut what the level before pulled to zero, tune, and pull on.

    A threshold over the scales of all layers together decides, with a floor for each channel group, since
    without one whole layers vanish. A group with several norms (a residual stream) is ranked by the root mean
    square of its scales; one without any stays whole.

    Attributes:
        l1: Weight of the sum of all |scale| in the loss, as a subgradient. The paper's 1e-4 is for 60,000
            steps; for fewer it must grow in proportion to do anything.
        pull: Share of a level's steps during which it acts; the rest only tunes.
        cost: What `kept` is a fraction of: "channels", as in the paper, or "macs".
        floor: Share of each group's channels that stays whatever their scales.
        exclude: Globs over parameter names; channel groups with such a parameter stay whole.
        pattern_options: More options of the pattern `channel`.
    """

    card: ClassVar[Card] = Card(
        name="network_slimming",
        says="L1 on batch-norm scales, a threshold over all layers, pass after pass.",
        paper="Liu et al., ICCV 2017",
        link="https://arxiv.org/abs/1708.06519",
        needs="training",
    )

    l1: float = 1e-4
    pull: float = 1.0
    cost: str = "channels"
    floor: float = 0.1
    exclude: tuple[str, ...] = ()
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.l1 < math.inf:
            raise BadValue("l1", self.l1, "0 or more")
        if not 0 <= self.pull <= 1:
            raise BadValue("pull", self.pull, "0 to 1")
        self.cut()  # the pattern checks its own options

    def cut(self) -> Cut:
        """How a level is cut: scales of different layers are compared as they are."""
        options = {"normalise": "size", "cost": self.cost, "floor": self.floor, **self.pattern_options}
        PATTERNS.make("channel", **options)
        return Cut("bn_scale", "channel", tuple(self.exclude), {}, options)

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if run.previous is not None:
            run.model.load_state_dict(run.previous.state)
        norms = norm_scales(run.model)
        groups = tuple(g for g in self.cut().free(run.task.groups) if any(n in norms for n in g.rows))
        if not groups:
            raise BadValue(
                "channel groups", (), "at least one with a batch norm; slimming ranks by its scale"
            )
        within = None if run.previous is None else run.previous.masks
        run.set_masks(
            self.cut().masks(
                run.model,
                run.kept,
                groups,
                within=within,
                stats=spread(run.masking.parameters, groups, norms),
            )
        )

    def settled(self, run: Run) -> bool:
        """See `Method.settled`."""
        return True

    def before_step(self, run: Run) -> None:
        """See `Method.before_step`; adds the subgradient of the penalty."""
        if run.step >= self.pull * run.steps:
            return
        for name in norm_scales(run.model):
            scale = run.masking.parameters[name]
            if scale.grad is not None:
                scale.grad.add_(scale.detach().sign(), alpha=self.l1)


def norm_scales(model: nn.Module) -> tuple[str, ...]:
    """Names of the scales of all batch norms."""
    found = {id(m.weight) for m in model.modules() if isinstance(m, NORMS) and m.weight is not None}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) in found)


def spread(
    parameters: Mapping[str, Tensor], groups: tuple[ChannelGroup, ...], norms: tuple[str, ...]
) -> dict[str, Tensor]:
    """Parameter of a group -> the scale of each row's channel, in the parameter's shape."""
    found: dict[str, Tensor] = {}
    for group in groups:
        scales = [
            parameters[n].detach().cpu().float()[torch.from_numpy(r)].square().mean(1)
            for n, r in group.rows.items()
            if n in norms
        ]
        scale = torch.stack(scales).mean(0).sqrt()
        for name, rows in group.rows.items():
            values = found.setdefault(name, torch.zeros(parameters[name].shape))
            for column in range(rows.shape[1]):
                index = torch.from_numpy(rows[:, column])
                values[index] = scale.reshape(-1, *[1] * (values.ndim - 1)).expand_as(values[index])
    return found
