# SPDX-License-Identifier: Apache-2.0
"""DenseNet-121 (Huang et al., CVPR 2017), with bottlenecks: 7,978,856 parameters at 1000 classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.networks.blocks import noise
from bench.networks.plant import Site

SMALL = {"depths": (2, 2, 1, 1), "growth": 8}
SITES = (
    Site("blocks.*.*", writes=("conv1", "norm2"), reads=("conv2",)),
    # Every later norm makes such a zero a constant of its own, which a 1x1 convolution or the head reads.
    Site("blocks.*.*", writes=("conv2",), kinds=("zero",)),
)


class DenseLayer(nn.Module):
    """Adds `growth` channels computed from all before it."""

    def __init__(self, inside: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, bottleneck * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.conv2 = nn.Conv2d(bottleneck * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        out = self.conv2(F.relu(self.norm2(out)))
        return torch.cat([x, out], 1)


class Transition(nn.Module):
    """Halves channels and size."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inside)
        self.conv = nn.Conv2d(inside, outside, 1, bias=False)
        self.pool = nn.AvgPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(F.relu(self.norm(x))))


class DenseNet(nn.Module):
    """Stem, four dense blocks with transitions between, linear."""

    def __init__(self, depths: tuple[int, ...], growth: int, bottleneck: int, classes: int) -> None:
        super().__init__()
        width = 2 * growth
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.stem_pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for index, depth in enumerate(depths):
            layers = [DenseLayer(width + i * growth, growth, bottleneck) for i in range(depth)]
            self.blocks.append(nn.Sequential(*layers))
            width += depth * growth
            if index < len(depths) - 1:
                self.transitions.append(Transition(width, width // 2))
                width //= 2
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_pool(F.relu(self.stem_norm(self.stem(x))))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index < len(self.transitions):
                x = self.transitions[index](x)
        x = F.relu(self.norm(x))
        x = torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)
        return self.classifier(x)


def build(
    depths: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, bottleneck: int = 4, classes: int = 1000
) -> nn.Module:
    """DenseNet-121 unless told otherwise."""
    return DenseNet(depths, growth, bottleneck, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
