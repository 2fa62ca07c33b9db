# SPDX-License-Identifier: Apache-2.0
"""RegNetX- and RegNetY-400MF (Radosavovic et al., CVPR 2020): 5.2 M and 4.3 M parameters at 1000 classes."""

from torch import Tensor, nn

from bench.networks.blocks import SqueezeExcite, conv_norm, noise
from bench.networks.plant import Site

VARIANTS = {"x": {"family": "x"}, "y": {"family": "y"}}
SMALL = {"depths": (1, 2, 1, 1)}
SITES = (
    # Constants are left out: the reader is padded and grouped, so one constant per group would have to stay.
    Site("stages.*.*", writes=("a",), reads=("b.0",), kinds=("zero", "unread"), even="b.0.groups"),
    Site(
        "stages.*.*",
        writes=("b", "squeeze.fc2?"),
        reads=("c.0", "squeeze.fc1?"),
        even="b.0.groups",
    ),
    Site("stages.*", writes=("0.shortcut", "*.c"), kinds=("zero",)),  # the residual stream
)

# depths, widths, group width, squeeze share of the block's input
_FAMILIES = {
    "x": ((1, 2, 7, 12), (32, 64, 160, 384), 16, 0.0),
    "y": ((1, 3, 6, 6), (48, 104, 208, 440), 8, 0.25),
}


class Block(nn.Module):
    """1x1, grouped 3x3, 1x1 convolutions of one width, around a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int, group_width: int, squeeze: float) -> None:
        super().__init__()
        self.a = conv_norm(inside, outside)
        self.b = conv_norm(outside, outside, 3, stride=stride, groups=outside // group_width)
        self.squeeze = SqueezeExcite(outside, round(squeeze * inside)) if squeeze else nn.Identity()
        self.c = conv_norm(outside, outside, act=None)
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else conv_norm(inside, outside, stride=stride, act=None)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.c(self.squeeze(self.b(self.a(x))))
        return self.act(self.shortcut(x) + out)


class RegNet(nn.Module):
    """Stem, four stages, linear."""

    def __init__(
        self,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        group_width: int,
        squeeze: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = conv_norm(3, 32, 3, stride=2)
        inside, stages = 32, []
        for depth, width in zip(depths, widths, strict=True):
            blocks = [Block(inside, width, 2, group_width, squeeze)]
            blocks += [Block(width, width, 1, group_width, squeeze) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inside = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stages(self.stem(x)))
        return self.fc(x.flatten(start_dim=1))


def build(family: str = "y", classes: int = 1000, depths: tuple[int, ...] | None = None) -> nn.Module:
    """`family` is x (plain) or y (squeeze and excite)."""
    published, widths, group_width, squeeze = _FAMILIES[family]
    return RegNet(depths or published, widths, group_width, squeeze, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
