# SPDX-License-Identifier: Apache-2.0
"""Fire modules: squeeze to few channels, expand by 1x1 and 3x3 side by side."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, image_shape, kaiming_

# Squeezed and expanded channels of fire2 .. fire9; each of the two expansions has the second number.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
POOLED = ("fire3", "fire5")
# conv1 without padding takes 2 pixels of a side, the pool after it 2 more.
SMALLEST = 5


class NormConv2d(nn.Conv2d):
    """A convolution with bias, then its own batch norm `bn` where it has one, then ReLU."""

    def __init__(self, channels_in: int, channels: int, kernel: int, padding: int, *, norm: bool) -> None:
        super().__init__(channels_in, channels, kernel, padding=padding)
        self.bn: nn.Module = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def forward(self, input: Tensor) -> Tensor:
        """`(batch, in, height, width)` to `(batch, out, ...)`, not negative."""
        return F.relu(self.bn(super().forward(input)))


class Fire(nn.Module):
    """Squeeze, then two expansions joined along the channels."""

    def __init__(self, channels_in: int, squeezed: int, expanded: int, without_norm: set[str]) -> None:
        super().__init__()
        has = {n: n not in without_norm for n in ("squeeze1x1", "expand1x1", "expand3x3")}
        self.squeeze1x1 = NormConv2d(channels_in, squeezed, 1, 0, norm=has["squeeze1x1"])
        self.expand1x1 = NormConv2d(squeezed, expanded, 1, 0, norm=has["expand1x1"])
        self.expand3x3 = NormConv2d(squeezed, expanded, 3, 1, norm=has["expand3x3"])

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in, height, width)` to `(batch, 2 * expanded, height, width)`."""
        x = self.squeeze1x1(x)
        return torch.cat((self.expand1x1(x), self.expand3x3(x)), 1)


@dataclass(frozen=True)
class Squeezenet:
    """SqueezeNet 1.1 with batch norm, and a stem for small images.

    The paper's stem strides and its network has no batch norm; this is the form trained on CIFAR-10 by
    Hasanpour et al. The last convolution is followed by ReLU, so no logit is negative.

    Attributes:
        without_norm: Convolutions without batch norm, such as "fire2.squeeze1x1".
    """

    card: ClassVar[Card] = Card(
        name="squeezenet",
        says="SqueezeNet 1.1 with batch norm: fire modules joined by concatenation.",
        paper="Iandola et al., 2016",
        link="https://arxiv.org/abs/1602.07360",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"squeezenet_bn": {}}

    without_norm: Sequence[str] = ()

    def __post_init__(self) -> None:
        parts = ("squeeze1x1", "expand1x1", "expand3x3")
        known = ["conv1"] + [f"fire{i}.{p}" for i in range(2, len(FIRES) + 2) for p in parts]
        for name in self.without_norm:
            if name not in known:
                raise BadValue("without_norm", name, f"among {', '.join(known)}")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, _, _ = image_shape(input_shape, SMALLEST)
        before = FIRES[0][1]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv1"] = NormConv2d(channels, before, 3, 0, norm="conv1" not in self.without_norm)
        layers["pool1"] = nn.MaxPool2d(3, 1)
        for i, (squeezed, expanded) in enumerate(FIRES, 2):
            lacks = {n.removeprefix(f"fire{i}.") for n in self.without_norm if n.startswith(f"fire{i}.")}
            layers[f"fire{i}"] = Fire(before, squeezed, expanded, lacks)
            if f"fire{i}" in POOLED:
                layers[f"pool{i}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
            before = 2 * expanded
        layers["conv10"] = NormConv2d(before, classes, 1, 0, norm=False)
        layers["average"] = GlobalAverage()
        return kaiming_(nn.Sequential(layers))
