# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 as it is deployed: batch norm folded into biases, TensorFlow padding."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.models.layers import SameConv2d, image_shape, kaiming_

# Table 2 of the paper, block by block: output channels and strides; the first block does not expand.
WIDTHS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
STEM, LAST, EXPANSION = 32, 1280, 6


class Network(nn.Module):
    """Convolutions `layer0`, `layer1` ... in the order they run."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = 0
        self.blocks: list[tuple[list[str], bool]] = []
        self.first = self.add(channels, STEM, 3, 2)
        before = STEM
        for i, (after, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
            inner = before * EXPANSION if i else before
            names = [self.add(before, inner, 1)] if i else []
            names.append(self.add(inner, inner, 3, stride, inner))
            names.append(self.add(inner, after, 1))
            self.blocks.append((names, stride == 1 and before == after))
            before = after
        self.last = self.add(before, LAST, 1)
        self.classifier = self.add(LAST, classes, 1)

    def add(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        """One more convolution; its name."""
        name = f"layer{self.layers}"
        self.layers += 1
        self.add_module(name, SameConv2d(before, after, kernel, stride, groups=groups))
        return name

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to logits `(batch, classes)`."""
        x = F.relu6(self.get_submodule(self.first)(x))
        for names, residual in self.blocks:
            y = x
            for name in names[:-1]:
                y = F.relu6(self.get_submodule(name)(y))
            y = self.get_submodule(names[-1])(y)
            x = x + y if residual else y
        x = F.relu6(self.get_submodule(self.last)(x))
        logits: Tensor = self.get_submodule(self.classifier)(F.adaptive_avg_pool2d(x, 1))
        return logits.flatten(1)


@dataclass(frozen=True)
class Mobilenetv2Folded:
    """MobileNetV2 1.0 without batch norm: every convolution has a bias instead."""

    card: ClassVar[Card] = Card(
        name="mobilenetv2_folded",
        says="MobileNetV2 with batch norm folded into biases, as deployed networks come.",
        paper="Sandler et al., CVPR 2018",
        link="https://arxiv.org/abs/1801.04381",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"mobilenetv2_folded": {}}

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, _, _ = image_shape(input_shape)
        return kaiming_(Network(channels, classes))
