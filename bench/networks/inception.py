# SPDX-License-Identifier: Apache-2.0
"""GoogLeNet (Szegedy et al., CVPR 2015), batch norm, no auxiliary heads: 7.0 M parameters at 1000 classes."""

import torch
from torch import Tensor, nn

from bench.networks.blocks import conv_norm, noise
from bench.networks.plant import Site

SMALL = {"depths": (1, 1, 1)}
SITES = (
    Site("stages.*.*", writes=("three_reduce",), reads=("three.0",)),
    Site("stages.*.*", writes=("five_reduce",), reads=("five.0",)),
    Site("stages.*.*", writes=("one",), kinds=("zero",)),
    Site("stages.*.*", writes=("five",), kinds=("zero",)),
)

# 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (the paper's table 1), by stage
_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, inside: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, pool = widths
        self.one = conv_norm(inside, one)
        self.three_reduce = conv_norm(inside, three_reduce)
        self.three = conv_norm(three_reduce, three, 3)
        self.five_reduce = conv_norm(inside, five_reduce)
        self.five = conv_norm(five_reduce, five, 5)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.pool_project = conv_norm(inside, pool)

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self.one(x),
            self.three(self.three_reduce(x)),
            self.five(self.five_reduce(x)),
            self.pool_project(self.pool(x)),
        ]
        return torch.cat(branches, dim=1)


class GoogLeNet(nn.Module):
    """Stem, nine inceptions in three stages, linear."""

    def __init__(self, depths: tuple[int, ...] | None, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(3, 64, 7, stride=2),
            nn.MaxPool2d(3, 2, 1),
            conv_norm(64, 64),
            conv_norm(64, 192, 3),
        )
        inside, stages = 192, []
        for index, table in enumerate(_STAGES):
            blocks = []
            for widths in table[: depths[index] if depths else None]:
                blocks.append(Inception(inside, widths))
                one, _, three, _, five, pool = widths
                inside = one + three + five + pool
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(self.pool(x))
        x = nn.functional.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))


def build(classes: int = 1000, depths: tuple[int, ...] | None = None) -> nn.Module:
    """`depths` keeps only the first inceptions of each stage."""
    return GoogLeNet(depths, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
