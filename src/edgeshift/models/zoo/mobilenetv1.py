# SPDX-License-Identifier: Apache-2.0
"""Depthwise and 1x1 convolutions in turns."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, SameConv2d, image_shape, kaiming_

# Table 1 of the paper: output channels of the 1x1 convolutions and strides of the depthwise ones before them.
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
STEM = 32
# Keras' batch norm adds this to the variance.
EPSILON = 1e-3


def keras_name(kind: str, number: int) -> str:
    """`conv2d`, `conv2d_1`, `conv2d_2` ..."""
    return f"{kind}_{number}" if number else kind


@dataclass(frozen=True)
class Mobilenetv1:
    """MobileNet, with biases and TensorFlow padding; layers are called as Keras called them.

    Attributes:
        width: Multiplies every number of channels.
    """

    card: ClassVar[Card] = Card(
        name="mobilenetv1",
        says="Depthwise separable convolutions; at width 0.25 the visual wake words net of MLPerf Tiny.",
        paper="Howard et al., 2017",
        link="https://arxiv.org/abs/1704.04861",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "mobilenetv1": {"width": 1.0},
        "mobilenetv1_025": {"width": 0.25},
    }

    width: float = 1.0

    def __post_init__(self) -> None:
        if self.width * STEM < 1:
            raise BadValue("width", self.width, f"at least {1 / STEM}")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        before, _, _ = image_shape(input_shape)
        net: OrderedDict[str, nn.Module] = OrderedDict()

        def add(kind: str, number: int, norm: int, conv: nn.Conv2d) -> None:
            net[keras_name(kind, number)] = conv
            net[keras_name("batch_normalization", norm)] = nn.BatchNorm2d(conv.out_channels, EPSILON)
            net[keras_name("relu", norm)] = nn.ReLU()

        stem = int(STEM * self.width)
        add("conv2d", 0, 0, SameConv2d(before, stem, 3, 2))
        before = stem
        for i, (wide, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
            after = int(wide * self.width)
            add("depthwise_conv2d", i, 2 * i + 1, SameConv2d(before, before, 3, stride, groups=before))
            add("conv2d", i + 1, 2 * i + 2, nn.Conv2d(before, after, 1))
            before = after
        net["average"] = GlobalAverage()
        net["dense"] = nn.Linear(before, classes)
        return kaiming_(nn.Sequential(net))
