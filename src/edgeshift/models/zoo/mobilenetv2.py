# SPDX-License-Identifier: Apache-2.0
"""Inverted residuals: expand, filter each channel alone, project."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, image_shape, kaiming_

# Table 2 of the paper: expansion, output channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280
# Widths are rounded to multiples of this, as in the authors' code.
DIVISOR = 8


def rounded(channels: float) -> int:
    """The nearest multiple of 8, never more than a tenth below."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * channels else nearest


Named = list[tuple[str, nn.Module]]


def conv_norm(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> Named:
    """A convolution that keeps the size (or halves it) and its batch norm."""
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [("conv", conv), ("bn", nn.BatchNorm2d(after))]


def active(layers: Named) -> nn.Sequential:
    """Layers followed by ReLU6."""
    return nn.Sequential(OrderedDict([*layers, ("relu", nn.ReLU6())]))


class Block(nn.Module):
    """Expand by 1x1, 3x3 per channel, project by 1x1; the input is added where shapes agree."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expand: nn.Module = active(conv_norm(before, inner, 1)) if expansion > 1 else nn.Identity()
        self.filter = active(conv_norm(inner, inner, 3, stride, groups=inner))
        self.project = nn.Sequential(OrderedDict(conv_norm(inner, after, 1)))
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, before, height, width)` to `(batch, after, height / stride, width / stride)`."""
        y: Tensor = self.project(self.filter(self.expand(x)))
        return x + y if self.residual else y


@dataclass(frozen=True)
class Mobilenetv2:
    """MobileNetV2.

    Attributes:
        width: Multiplies every number of channels, which is then rounded to a multiple of 8.
        stem: "imagenet" strides as in the paper; "cifar" keeps the size in the stem and the second stage.
        dropout: Share of the features zeroed before the classifier in training, 0 to under 1.
    """

    card: ClassVar[Card] = Card(
        name="mobilenetv2",
        says="Inverted residuals with depthwise convolutions, for small or large images.",
        paper="Sandler et al., CVPR 2018",
        link="https://arxiv.org/abs/1801.04381",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "mobilenetv2": {"stem": "cifar"},
        "mobilenetv2_imagenet": {"stem": "imagenet", "dropout": 0.2},
    }

    width: float = 1.0
    stem: str = "cifar"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise BadValue("width", self.width, "above 0")
        if self.stem not in ("cifar", "imagenet"):
            raise BadValue("stem", self.stem, "'cifar' or 'imagenet'")
        if not 0 <= self.dropout < 1:
            raise BadValue("dropout", self.dropout, "from 0 to under 1")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, _, _ = image_shape(input_shape)
        before = rounded(STEM * self.width)
        small = self.stem == "cifar"
        blocks = []
        for stage, (expansion, wide, count, first_stride) in enumerate(STAGES):
            after = rounded(wide * self.width)
            for i in range(count):
                stride = first_stride if i == 0 and not (small and stage == 1) else 1
                blocks.append(Block(before, after, expansion, stride))
                before = after
        last = rounded(LAST * max(self.width, 1.0))
        net: OrderedDict[str, nn.Module] = OrderedDict()
        net["stem"] = active(conv_norm(channels, rounded(STEM * self.width), 3, 1 if small else 2))
        net["blocks"] = nn.Sequential(*blocks)
        net["last"] = active(conv_norm(before, last, 1))
        net["average"] = GlobalAverage()
        if self.dropout:
            net["dropout"] = nn.Dropout(self.dropout)
        net["fc"] = nn.Linear(last, classes)
        return kaiming_(nn.Sequential(net))
