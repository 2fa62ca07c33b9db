# SPDX-License-Identifier: Apache-2.0
"""ShuffleNetV2 1.0x (Ma et al., ECCV 2018): 2,278,604 parameters at 1000 classes."""

import torch
from torch import Tensor, nn

from bench.networks.blocks import conv_norm, noise
from bench.networks.plant import Site

SMALL = {"depths": (2, 1, 1), "widths": (16, 24, 32, 40)}
SITES = (
    Site("stages.*.*", writes=("reduce", "depthwise"), reads=("expand.0",)),
    Site("", writes=("last",), reads=("fc",)),
)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of `groups` equal runs."""
    B, C, H, W = x.shape
    x = x.view(B, groups, C // groups, H, W).transpose(1, 2)
    return x.reshape(B, C, H, W)


class Unit(nn.Module):
    """One half of the channels passes, the other is convolved; strided units convolve both."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        half = outside // 2
        self.stride = stride
        entry = inside if stride > 1 else half
        if stride > 1:
            self.bypass = nn.Sequential(
                conv_norm(inside, inside, 3, stride=stride, groups=inside, act=None),
                conv_norm(inside, half),
            )
        self.reduce = conv_norm(entry, half)
        self.depthwise = conv_norm(half, half, 3, stride=stride, groups=half, act=None)
        self.expand = conv_norm(half, half)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            left, right = self.bypass(x), x
        else:
            left, right = x.chunk(2, dim=1)
        right = self.expand(self.depthwise(self.reduce(right)))
        return channel_shuffle(torch.cat((left, right), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """Stem, three stages, a last convolution, linear."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = conv_norm(3, 24, 3, stride=2)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        inside, stages = 24, []
        for depth, width in zip(depths, widths, strict=False):
            units = [Unit(inside, width, 2)] + [Unit(width, width, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*units))
            inside = width
        self.stages = nn.Sequential(*stages)
        self.last = conv_norm(inside, widths[-1])
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.stem(x))
        x = self.last(self.stages(x))
        return self.fc(x.mean([2, 3]))


def build(
    depths: tuple[int, ...] = (4, 8, 4),
    widths: tuple[int, ...] = (116, 232, 464, 1024),
    classes: int = 1000,
) -> nn.Module:
    """`widths` are those of the stages and of the last convolution."""
    return ShuffleNetV2(depths, widths, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
