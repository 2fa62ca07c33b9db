# SPDX-License-Identifier: Apache-2.0
"""The image classifier of the MLPerf Tiny benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, SameConv2d, image_shape, kaiming_

# Keras' batch norm adds this to the variance.
EPSILON = 1e-3


class Network(nn.Module):
    """Three residual blocks; layers are called as Keras called them."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, two, three = widths
        self.conv2d = SameConv2d(channels, one, 3)
        self.batch_normalization = nn.BatchNorm2d(one, EPSILON)
        self.conv2d_1 = SameConv2d(one, one, 3)
        self.batch_normalization_1 = nn.BatchNorm2d(one, EPSILON)
        self.conv2d_2 = SameConv2d(one, one, 3)
        self.batch_normalization_2 = nn.BatchNorm2d(one, EPSILON)
        self.conv2d_3 = SameConv2d(one, two, 3, 2)
        self.batch_normalization_3 = nn.BatchNorm2d(two, EPSILON)
        self.conv2d_4 = SameConv2d(two, two, 3)
        self.batch_normalization_4 = nn.BatchNorm2d(two, EPSILON)
        self.conv2d_5 = SameConv2d(one, two, 1, 2)
        self.conv2d_6 = SameConv2d(two, three, 3, 2)
        self.batch_normalization_5 = nn.BatchNorm2d(three, EPSILON)
        self.conv2d_7 = SameConv2d(three, three, 3)
        self.batch_normalization_6 = nn.BatchNorm2d(three, EPSILON)
        self.conv2d_8 = SameConv2d(two, three, 1, 2)
        self.average = GlobalAverage()
        self.dense = nn.Linear(three, classes)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to logits `(batch, classes)`."""
        x = F.relu(self.batch_normalization(self.conv2d(x)))
        y = F.relu(self.batch_normalization_1(self.conv2d_1(x)))
        x = F.relu(x + self.batch_normalization_2(self.conv2d_2(y)))
        y = F.relu(self.batch_normalization_3(self.conv2d_3(x)))
        x = F.relu(self.conv2d_5(x) + self.batch_normalization_4(self.conv2d_4(y)))
        y = F.relu(self.batch_normalization_5(self.conv2d_6(x)))
        x = F.relu(self.conv2d_8(x) + self.batch_normalization_6(self.conv2d_7(y)))
        logits: Tensor = self.dense(self.average(x))
        return logits


@dataclass(frozen=True)
class Resnet8:
    """ResNet-8 with biases, TensorFlow padding and shortcuts without batch norm.

    Attributes:
        widths: Channels of the three blocks.
    """

    card: ClassVar[Card] = Card(
        name="resnet8",
        says="The image classifier of MLPerf Tiny, 78 k parameters.",
        paper="Banbury et al., NeurIPS Datasets and Benchmarks 2021",
        link="https://arxiv.org/abs/2106.07597",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"resnet8": {"widths": [16, 32, 64]}}

    widths: Sequence[int] = (16, 32, 64)

    def __post_init__(self) -> None:
        if len(self.widths) != 3 or min(self.widths) < 1:
            raise BadValue("widths", self.widths, "3 positive numbers")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, _, _ = image_shape(input_shape)
        return kaiming_(Network(channels, classes, self.widths))
