# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-B0 (Tan and Le, ICML 2019): 5,288,548 parameters at 1000 classes."""

from torch import Tensor, nn

from bench.networks.blocks import SqueezeExcite, conv_norm, noise
from bench.networks.plant import Site

SMALL = {"depth": 3}
SITES = (
    Site(
        "stages.*.*",
        writes=("expand", "depthwise", "squeeze.fc2"),
        reads=("project.0", "squeeze.fc1"),
    ),
    Site("stages.*.*", writes=("squeeze.fc1",), reads=("squeeze.fc2",)),
    Site("stages.*", writes=("*.project",), kinds=("zero",)),  # the residual stream
    Site("", writes=("last",), reads=("fc",)),
)

# expansion, width, blocks, stride, kernel (the paper's table 1)
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class MBConv(nn.Module):
    """Expand, depthwise, squeeze and excite, project; a shortcut where the shape stays."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = inside * expansion
        self.expand = conv_norm(inside, inner, act=nn.SiLU) if expansion > 1 else nn.Identity()
        self.depthwise = conv_norm(inner, inner, kernel, stride=stride, groups=inner, act=nn.SiLU)
        self.squeeze = SqueezeExcite(inner, inside // 4, nn.SiLU)
        self.project = conv_norm(inner, outside, act=None)
        self.use_shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand(x)
        out = self.depthwise(out)
        out = self.squeeze(out)
        out = self.project(out)
        if self.use_shortcut:
            out = out + x
        return out


class EfficientNet(nn.Module):
    """Stem, seven stages of inverted bottlenecks, a last convolution, linear."""

    def __init__(self, classes: int, depth: int | None) -> None:
        super().__init__()
        self.stem = conv_norm(3, 32, 3, stride=2, act=nn.SiLU)
        inside, stages = 32, []
        for expansion, outside, blocks, stride, kernel in _STAGES[:depth]:
            layers = [MBConv(inside, outside, expansion, stride, kernel)]
            layers += [MBConv(outside, outside, expansion, 1, kernel) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*layers))
            inside = outside
        self.stages = nn.Sequential(*stages)
        self.last = conv_norm(inside, 4 * inside, act=nn.SiLU)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(4 * inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.stages(self.stem(x)))
        return self.fc(self.dropout(x.mean((2, 3))))


def build(classes: int = 1000, depth: int | None = None) -> nn.Module:
    """`depth` keeps only the first stages."""
    return EfficientNet(classes, depth)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
