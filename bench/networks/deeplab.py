# SPDX-License-Identifier: Apache-2.0
"""A DeepLabV3-style segmenter (Chen et al., 2017) on 18 residual layers, the last stage dilated."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.networks.blocks import conv_norm, noise
from bench.networks.plant import Site

SMALL = {"depths": (1, 1, 1, 1), "width": 16}
SITES = (
    Site("stages.*.*", writes=("first",), reads=("second.0",)),
    Site("stages.*", writes=("0.shortcut", "*.second"), kinds=("zero",)),  # the residual stream
    Site("pyramid.branches.*", writes=("0", "1"), kinds=("zero",)),
    Site("pyramid", writes=("pooled",), kinds=("zero",)),
    Site("", writes=("pyramid.project",), reads=("head.0.0",)),
    Site("", writes=("head.0",), reads=("head.1",)),
)


class Basic(nn.Module):
    """Two 3x3 convolutions around a shortcut, dilated where the stride was given up."""

    def __init__(self, inside: int, outside: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.first = conv_norm(inside, outside, 3, stride=stride, dilation=dilation)
        self.second = conv_norm(outside, outside, 3, dilation=dilation, act=None)
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else conv_norm(inside, outside, stride=stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: one map seen at several dilations and as a whole."""

    def __init__(self, inside: int, width: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        wide = [conv_norm(inside, width, 3, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList([conv_norm(inside, width), *wide])
        self.pooled = conv_norm(inside, width)
        self.project = conv_norm(width * (len(rates) + 2), width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        maps = [branch(x) for branch in self.branches]
        whole = self.pooled(F.adaptive_avg_pool2d(x, 1))
        maps.append(F.interpolate(whole, size=x.shape[-2:], mode="bilinear", align_corners=False))
        return self.dropout(self.project(torch.cat(maps, dim=1)))


class DeepLab(nn.Module):
    """Backbone at stride 16, pyramid, head, upsampled to the input's size."""

    def __init__(self, depths: tuple[int, ...], width: int, rates: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, width, 7, stride=2), nn.MaxPool2d(3, 2, 1))
        inside, stages = width, []
        for stage, (depth, stride, dilation) in enumerate(
            zip(depths, (1, 2, 2, 1), (1, 1, 1, 2), strict=True)
        ):
            outside = width * 2**stage
            blocks = [Basic(inside, outside, stride, dilation)]
            blocks += [Basic(outside, outside, 1, dilation) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inside = outside
        self.stages = nn.Sequential(*stages)
        self.pyramid = Pyramid(inside, 4 * width, rates)
        self.head = nn.Sequential(conv_norm(4 * width, 4 * width, 3), nn.Conv2d(4 * width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        out = self.head(self.pyramid(self.stages(self.stem(x))))
        return F.interpolate(out, size=size, mode="bilinear", align_corners=False)


def build(
    depths: tuple[int, ...] = (2, 2, 2, 2),
    width: int = 64,
    rates: tuple[int, ...] = (6, 12, 18),
    classes: int = 21,
) -> nn.Module:
    """`rates` are the pyramid's dilations."""
    return DeepLab(depths, width, rates, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper trains on crops of 513."""
    return (noise(batch, 3, size, size),)
