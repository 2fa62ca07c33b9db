# SPDX-License-Identifier: Apache-2.0
"""ResNet-50 (He et al., CVPR 2016), stride on the 3x3 convolution: 25,557,032 parameters at 1000 classes."""

import torch
from torch import Tensor, nn

from bench.networks.blocks import noise
from bench.networks.plant import Site

SMALL = {"depths": (1, 2, 1, 1), "width": 8}
SITES = (
    Site("layer*.*", writes=("conv1", "bn1"), reads=("conv2",)),
    Site("layer*.*", writes=("conv2", "bn2"), reads=("conv3",)),
    Site("layer*", writes=("0.downsample", "*.conv3", "*.bn3"), kinds=("zero",)),  # the residual stream
)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut."""

    def __init__(self, inside: int, width: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return torch.relu(out + shortcut)


class ResNet(nn.Module):
    """Stem, four stages of bottlenecks, mean over the map, linear."""

    def __init__(self, depths: tuple[int, int, int, int], width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = width
        stages = []
        for stage, depth in enumerate(depths):
            inner = width * 2**stage
            blocks = []
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(inside, inner, 4 * inner, stride))
                inside = 4 * inner
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x)


def build(
    depths: tuple[int, int, int, int] = (3, 4, 6, 3), width: int = 64, classes: int = 1000
) -> nn.Module:
    """ResNet-50 unless told otherwise."""
    return ResNet(depths, width, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
