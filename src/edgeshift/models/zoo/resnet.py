# SPDX-License-Identifier: Apache-2.0
"""Residual networks for small images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, image_shape, kaiming_


class Pad(nn.Module):
    """Shortcut A: skip rows and columns, put channels of zeros before and after; no parameters.

    Attributes:
        stride: Every how many rows and columns stay.
        front: Channels of zeros before the input's.
        back: Channels of zeros after them.
    """

    def __init__(self, stride: int, front: int, back: int) -> None:
        super().__init__()
        self.stride, self.front, self.back = stride, front, back

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in, height, width)` to `(batch, front + in + back, ...)`."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.front, self.back))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(
        self, width_in: int, inner: int, width: int, stride: int, shortcut: str, lacks: set[str]
    ) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Identity()
        self.bn1: nn.Module = nn.Identity()
        self.conv2: nn.Module = nn.Identity()
        self.bn2: nn.Module = nn.Identity()
        self.downsample: nn.Module = nn.Identity()
        if "conv1" not in lacks:
            self.conv1 = nn.Conv2d(width_in, inner, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inner)
        if "conv2" not in lacks:
            self.conv2 = nn.Conv2d(inner, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
        if (stride, width_in) != (1, width):
            self.downsample = self.shortcut(width_in, width, stride, shortcut)

    @staticmethod
    def shortcut(width_in: int, width: int, stride: int, kind: str) -> nn.Module:
        """The way around a block that changes shape."""
        if kind == "A":
            front = (width - width_in) // 2
            return Pad(stride, front, width - width_in - front)
        return nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in, height, width)` to `(batch, width, height / stride, width / stride)`."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Network(nn.Module):
    """Stem, stages `layer1`, `layer2` ..., global average, classifier."""

    def __init__(
        self, channels: int, classes: int, stages: list[nn.Sequential], width: int, head: str
    ) -> None:
        super().__init__()
        last = width * 2 ** (len(stages) - 1)
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = [f"layer{i}" for i in range(1, len(stages) + 1)]
        for name, stage in zip(self.stages, stages, strict=True):
            self.add_module(name, stage)
        self.average = GlobalAverage()
        self.head = head
        self.add_module(head, nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to logits `(batch, classes)`."""
        x = F.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.get_submodule(self.head)(self.average(x))
        return logits


@dataclass(frozen=True)
class Resnet:
    """ResNets of 6n + 2 layers.

    Layers are called as in the published files: the classifier is `linear` with shortcut A, `fc` with B.

    Attributes:
        blocks: Blocks in each stage; a stage has twice the width and half the side of the one before.
        width: Channels of the first stage.
        shortcut: "A" pads with channels of zeros, "B" projects by a 1x1 convolution.
        inner: Channels between the two convolutions of each block, in order; empty = the stage's width.
        removed: Convolutions that are left out with their batch norm, such as "layer1.0.conv1".
    """

    card: ClassVar[Card] = Card(
        name="resnet",
        says="CIFAR ResNet-20 to -110, with parameter-free or projection shortcuts.",
        paper="He et al., CVPR 2016",
        link="https://arxiv.org/abs/1512.03385",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "resnet20": {"blocks": [3, 3, 3]},
        "resnet32": {"blocks": [5, 5, 5]},
        "resnet44": {"blocks": [7, 7, 7]},
        "resnet56": {"blocks": [9, 9, 9]},
        "resnet110": {"blocks": [18, 18, 18]},
        "resnet20b": {"blocks": [3, 3, 3], "shortcut": "B"},
        "resnet32b": {"blocks": [5, 5, 5], "shortcut": "B"},
        "resnet44b": {"blocks": [7, 7, 7], "shortcut": "B"},
        "resnet56b": {"blocks": [9, 9, 9], "shortcut": "B"},
        "resnet110b": {"blocks": [18, 18, 18], "shortcut": "B"},
    }

    blocks: Sequence[int] = (3, 3, 3)
    width: int = 16
    shortcut: str = "A"
    inner: Sequence[int] = ()
    removed: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.blocks or min(self.blocks) < 1:
            raise BadValue("blocks", self.blocks, "at least 1 in each stage")
        if self.width < 1:
            raise BadValue("width", self.width, "at least 1")
        if self.shortcut not in ("A", "B"):
            raise BadValue("shortcut", self.shortcut, "'A' or 'B'")
        if self.inner and (len(self.inner) != sum(self.blocks) or min(self.inner) < 1):
            raise BadValue("inner", self.inner, f"{sum(self.blocks)} positive numbers, one for each block")
        if self.inner and self.removed:
            raise BadValue("removed", self.removed, "empty where inner is given")
        for name in self.removed:
            if name not in self.removable():
                raise BadValue("removed", name, f"one of {', '.join(self.removable())}")

    def removable(self) -> list[str]:
        """Convolutions without which the shapes still fit."""
        found = []
        for stage, count in enumerate(self.blocks, 1):
            for i in range(count):
                if i or stage == 1:
                    found += [f"layer{stage}.{i}.conv1", f"layer{stage}.{i}.conv2"]
        return found

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, _, _ = image_shape(input_shape)
        inner = iter(self.inner)
        before = self.width
        stages = []
        for stage, count in enumerate(self.blocks, 1):
            width = self.width * 2 ** (stage - 1)
            blocks = []
            for i in range(count):
                start = f"layer{stage}.{i}."
                lacks = {name.removeprefix(start) for name in self.removed if name.startswith(start)}
                stride = 2 if stage > 1 and i == 0 else 1
                blocks.append(Block(before, next(inner, width), width, stride, self.shortcut, lacks))
                before = width
            stages.append(nn.Sequential(*blocks))
        head = "linear" if self.shortcut == "A" else "fc"
        return kaiming_(Network(channels, classes, stages, self.width, head))
