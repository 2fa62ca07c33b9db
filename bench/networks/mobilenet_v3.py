# SPDX-License-Identifier: Apache-2.0
"""MobileNetV3 (Howard et al., ICCV 2019): 2,542,856 and 5,483,032 parameters (small, large; 1000 classes)."""

from torch import Tensor, nn

from bench.networks.blocks import SqueezeExcite, conv_norm, noise, rounded
from bench.networks.plant import Site

VARIANTS = {"small": {"size": "small"}, "large": {"size": "large"}}
SMALL = {"depth": 5}
SITES = (
    Site(
        "blocks.*",
        writes=("expand", "depthwise", "squeeze.fc2?"),
        reads=("project.0", "squeeze.fc1?"),
    ),
    Site("blocks.*", writes=("squeeze.fc1",), reads=("squeeze.fc2",)),
    Site("", writes=("hidden",), reads=("fc",)),
)
EPS = 1e-3

# kernel, expanded width, width, squeeze-and-excite, hard-swish, stride (the paper's tables 1 and 2)
_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
_SIZES = {"large": (_LARGE, 1280), "small": (_SMALL, 1024)}


class Inverted(nn.Module):
    """Expand, depthwise, squeeze and excite, project; a shortcut where the shape stays."""

    def __init__(
        self, inside: int, kernel: int, expanded: int, outside: int, squeeze: bool, swish: bool, stride: int
    ) -> None:
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        self.expand = nn.Identity() if expanded == inside else conv_norm(inside, expanded, eps=EPS, act=act)
        self.depthwise = conv_norm(
            expanded, expanded, kernel, stride=stride, groups=expanded, eps=EPS, act=act
        )
        gate = SqueezeExcite(expanded, rounded(expanded / 4), nn.ReLU, nn.Hardsigmoid) if squeeze else None
        self.squeeze = gate or nn.Identity()
        self.project = conv_norm(expanded, outside, eps=EPS, act=None)
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return x + out if self.shortcut else out


class MobileNetV3(nn.Module):
    """Stem, inverted bottlenecks, a last convolution and a two-layer head."""

    def __init__(self, size: str, classes: int, depth: int | None) -> None:
        super().__init__()
        table, hidden = _SIZES[size]
        self.stem = conv_norm(3, 16, 3, stride=2, eps=EPS, act=nn.Hardswish)
        inside, blocks = 16, []
        for kernel, expanded, outside, squeeze, swish, stride in table[:depth]:
            blocks.append(Inverted(inside, kernel, expanded, outside, squeeze, swish, stride))
            inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.last = conv_norm(inside, 6 * inside, eps=EPS, act=nn.Hardswish)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Linear(6 * inside, hidden)
        self.act = nn.Hardswish()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.stem(x)))
        x = self.pool(x).flatten(1)
        return self.fc(self.dropout(self.act(self.hidden(x))))


def build(size: str = "large", classes: int = 1000, depth: int | None = None) -> nn.Module:
    """`size` is small or large; `depth` keeps only the first blocks."""
    return MobileNetV3(size, classes, depth)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
