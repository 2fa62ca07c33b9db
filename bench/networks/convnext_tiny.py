# SPDX-License-Identifier: Apache-2.0
"""ConvNeXt-T (Liu et al., CVPR 2022): 28,589,128 parameters at 1000 classes.

Layer scale starts at 0.1 instead of the paper's 1e-6, so that the branches count before any training.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.networks.blocks import noise
from bench.networks.plant import Site

SMALL = {"depths": (1, 2), "widths": (24, 40)}
SITES = (Site("stages.*.*", writes=("grow",), reads=("shrink",)),)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of `(B, C, H, W)`."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise 7x7, then norm and MLP over channels last, scaled, around a shortcut."""

    def __init__(self, width: int, layer_scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.grow = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.shrink = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        out = self.depthwise(x).permute(0, 2, 3, 1)
        out = self.shrink(self.act(self.grow(self.norm(out))))
        out = self.gamma * out
        return x + out.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Patch stem, four stages with a strided convolution before each but the first, linear."""

    def __init__(
        self, depths: tuple[int, ...], widths: tuple[int, ...], classes: int, layer_scale: float
    ) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), LayerNorm2d(widths[0], eps=1e-6))
        self.downs = nn.ModuleList([stem])
        for inside, outside in pairwise(widths):
            down = nn.Sequential(LayerNorm2d(inside, eps=1e-6), nn.Conv2d(inside, outside, 2, 2))
            self.downs.append(down)
        self.stages = nn.ModuleList(
            nn.Sequential(*[Block(width, layer_scale) for _ in range(depth)])
            for width, depth in zip(widths, depths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
        return self.head(self.norm(x.mean([-2, -1])))


def build(
    depths: tuple[int, ...] = (3, 3, 9, 3),
    widths: tuple[int, ...] = (96, 192, 384, 768),
    classes: int = 1000,
    layer_scale: float = 0.1,
) -> nn.Module:
    """ConvNeXt-T unless told otherwise."""
    return ConvNeXt(depths, widths, classes, layer_scale)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
