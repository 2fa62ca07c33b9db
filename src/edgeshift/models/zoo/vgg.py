# SPDX-License-Identifier: Apache-2.0
"""VGG with batch norm."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, image_shape, kaiming_


@dataclass(frozen=True)
class Vgg:
    """Stages of 3x3 convolutions with batch norm and ReLU, a 2x2 maximum after each, one linear layer.

    The published network ends in three linear layers for 224x224 inputs; on small images one is customary.
    A stage whose output has a side of one pixel is not pooled, so that small inputs work too.

    Attributes:
        convs: Convolutions in each stage.
        widths: Channels of each stage.
        bias: Whether convolutions have a bias as well; batch norm makes it superfluous.
        head: "average" over the last maps, or "flatten" them into the linear layer.
    """

    card: ClassVar[Card] = Card(
        name="vgg",
        says="VGG-11 to -19 with batch norm and one linear layer.",
        paper="Simonyan and Zisserman, ICLR 2015",
        link="https://arxiv.org/abs/1409.1556",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vgg11_bn": {"convs": [1, 1, 2, 2, 2]},
        "vgg13_bn": {"convs": [2, 2, 2, 2, 2]},
        "vgg16_bn": {"convs": [2, 2, 3, 3, 3]},
        "vgg19_bn": {"convs": [2, 2, 4, 4, 4]},
    }

    convs: Sequence[int] = (2, 2, 3, 3, 3)
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    bias: bool = False
    head: str = "average"

    def __post_init__(self) -> None:
        if not self.convs or min(self.convs) < 1:
            raise BadValue("convs", self.convs, "at least 1 in each stage")
        if len(self.widths) != len(self.convs) or min(self.widths) < 1:
            raise BadValue("widths", self.widths, f"{len(self.convs)} positive numbers, one for each stage")
        if self.head not in ("average", "flatten"):
            raise BadValue("head", self.head, "'average' or 'flatten'")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        before, height, width = image_shape(input_shape)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, (count, channels) in enumerate(zip(self.convs, self.widths, strict=True), 1):
            for i in range(1, count + 1):
                layers[f"conv{stage}_{i}"] = nn.Conv2d(before, channels, 3, 1, 1, bias=self.bias)
                layers[f"bn{stage}_{i}"] = nn.BatchNorm2d(channels)
                layers[f"relu{stage}_{i}"] = nn.ReLU()
                before = channels
            if min(height, width) >= 2:
                layers[f"pool{stage}"] = nn.MaxPool2d(2)
                height, width = height // 2, width // 2
        if self.head == "average":
            layers["average"], features = GlobalAverage(), before
        else:
            layers["flatten"], features = nn.Flatten(), before * height * width
        layers["fc"] = nn.Linear(features, classes)
        return kaiming_(nn.Sequential(layers))
