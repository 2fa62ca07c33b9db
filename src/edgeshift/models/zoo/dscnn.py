# SPDX-License-Identifier: Apache-2.0
"""The keyword spotter of the MLPerf Tiny benchmark."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, SameConv2d, image_shape, kaiming_

# Keras' batch norm adds this to the variance.
EPSILON = 1e-3


class Crop(nn.Module):
    """The first rows and columns.

    Attributes:
        rows: How many rows stay.
        columns: How many columns stay.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, channels, rows, columns)`."""
        return x[:, :, : self.rows, : self.columns]


@dataclass(frozen=True)
class Dscnn:
    """DS-CNN: one convolution over time and frequency, then depthwise and 1x1 ones in turns.

    The mean at the end leaves out the last row and column of an odd input, as the published network does.

    Attributes:
        width: Channels of every convolution.
        blocks: Depthwise and 1x1 pairs.
    """

    card: ClassVar[Card] = Card(
        name="dscnn",
        says="The keyword spotter of MLPerf Tiny: depthwise separable, 24 k parameters.",
        paper="Zhang et al., 2017",
        link="https://arxiv.org/abs/1711.07128",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"dscnn": {"width": 64, "blocks": 4}}

    width: int = 64
    blocks: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.blocks) < 1:
            raise BadValue("width and blocks", (self.width, self.blocks), "at least 1")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`; `(1, frames, coefficients)` for the published network."""
        channels, height, width = image_shape(input_shape, smallest=2)
        net: OrderedDict[str, nn.Module] = OrderedDict()
        net["conv"] = SameConv2d(channels, self.width, (10, 4), 2)
        net["conv_bn"] = nn.BatchNorm2d(self.width, EPSILON)
        net["relu"] = nn.ReLU()
        for i in range(1, self.blocks + 1):
            net[f"block{i}"] = self.block()
        net["crop"] = Crop(height // 2, width // 2)
        net["average"] = GlobalAverage()
        net["fc"] = nn.Linear(self.width, classes)
        return kaiming_(nn.Sequential(net))

    def block(self) -> nn.Sequential:
        """3x3 per channel, then 1x1, each with batch norm and ReLU."""
        block: OrderedDict[str, nn.Module] = OrderedDict()
        block["dw"] = nn.Conv2d(self.width, self.width, 3, 1, 1, groups=self.width)
        block["dw_bn"] = nn.BatchNorm2d(self.width, EPSILON)
        block["dw_relu"] = nn.ReLU()
        block["pw"] = nn.Conv2d(self.width, self.width, 1)
        block["pw_bn"] = nn.BatchNorm2d(self.width, EPSILON)
        block["pw_relu"] = nn.ReLU()
        return nn.Sequential(block)
