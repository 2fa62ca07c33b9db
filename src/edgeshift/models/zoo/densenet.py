# SPDX-License-Identifier: Apache-2.0
"""Densely connected networks for small images."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, image_shape, kaiming_

# A bottleneck has this many times the growth.
BOTTLENECK = 4


class Layer(nn.Module):
    """Batch norm, ReLU, 3x3 convolution; its output joins its input."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, before, height, width)` to `(batch, before + growth, height, width)`."""
        return torch.cat((x, self.conv1(F.relu(self.bn1(x)))), 1)


class BottleneckLayer(nn.Module):
    """The same with a 1x1 convolution before the 3x3 one."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, BOTTLENECK * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, before, height, width)` to `(batch, before + growth, height, width)`."""
        y = self.conv1(F.relu(self.bn1(x)))
        return torch.cat((x, self.conv2(F.relu(self.bn2(y)))), 1)


class DenseBlock(nn.Module):
    """Layers one after the other, held under a name of their own as in the published files."""

    def __init__(self, holder: str, layers: list[nn.Module]) -> None:
        super().__init__()
        self.holder = holder
        self.add_module(holder, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, before, height, width)` to `(batch, before + layers * growth, height, width)`."""
        grown: Tensor = self.get_submodule(self.holder)(x)
        return grown


class Transition(nn.Module):
    """Batch norm, ReLU, 1x1 convolution, 2x2 average; a side of one pixel is not halved."""

    def __init__(self, before: int, after: int, *, halve: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(before)
        self.conv = nn.Conv2d(before, after, 1, bias=False)
        self.pool: nn.Module = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, before, height, width)` to `(batch, after, height / 2, width / 2)`."""
        pooled: Tensor = self.pool(self.conv(F.relu(self.bn(x))))
        return pooled


@dataclass(frozen=True)
class Densenet:
    """DenseNet and DenseNet-BC.

    Attributes:
        blocks: Layers in each dense block; between blocks the side is halved.
        growth: Channels each layer adds.
        stem: Channels of the first convolution.
        bottleneck: Whether a 1x1 convolution to four times the growth precedes each 3x3 one.
        kept: Share of the channels a transition keeps, above 0 to 1.
        stem_norm: Whether batch norm and ReLU follow the first convolution.
        names: How layers are called: "nested" (`features.norm5`, `classifier`) or "flat" (`conv0`, `fc`),
            as in two published files.
    """

    card: ClassVar[Card] = Card(
        name="densenet",
        says="Layers that each read all before them, with or without bottlenecks.",
        paper="Huang et al., CVPR 2017",
        link="https://arxiv.org/abs/1608.06993",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "densenet40_12": {"blocks": [12, 12, 12]},
        "densenetbc100_12": {"blocks": [16, 16, 16], "bottleneck": True, "kept": 0.5, "stem": 24},
        "densenetbc_6_12_24": {"blocks": [6, 12, 24], "bottleneck": True, "kept": 0.5, "stem": 24},
    }

    blocks: Sequence[int] = (12, 12, 12)
    growth: int = 12
    stem: int = 16
    bottleneck: bool = False
    kept: float = 1.0
    stem_norm: bool = False
    names: str = "nested"

    def __post_init__(self) -> None:
        if not self.blocks or min(self.blocks) < 1:
            raise BadValue("blocks", self.blocks, "at least 1 layer in each")
        if min(self.growth, self.stem) < 1:
            raise BadValue("growth and stem", (self.growth, self.stem), "at least 1")
        if not 0 < self.kept <= 1:
            raise BadValue("kept", self.kept, "above 0 to 1")
        if self.names not in ("nested", "flat"):
            raise BadValue("names", self.names, "'nested' or 'flat'")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, height, width = image_shape(input_shape)
        stem: OrderedDict[str, nn.Module] = OrderedDict()
        stem["0"] = nn.Conv2d(channels, self.stem, 3, 1, 1, bias=False)
        if self.stem_norm:
            stem["1"], stem["2"] = nn.BatchNorm2d(self.stem), nn.ReLU()
        body, before = self.body(min(height, width))
        net: OrderedDict[str, nn.Module] = OrderedDict()
        tail: OrderedDict[str, nn.Module] = OrderedDict(relu=nn.ReLU(), average=GlobalAverage())
        norm, head = nn.BatchNorm2d(before), nn.Linear(before, classes)
        if self.names == "nested":
            features = OrderedDict([*stem.items(), *body.items(), ("norm5", norm)])
            net.update(features=nn.Sequential(features), **tail, classifier=head)
        else:
            net.update({f"conv{k}" if k == "0" else f"stem{k}": layer for k, layer in stem.items()})
            net.update(features=nn.Sequential(body), bn=norm, **tail, fc=head)
        return kaiming_(nn.Sequential(net))

    def body(self, side: int) -> tuple[OrderedDict[str, nn.Module], int]:
        """Dense blocks with transitions between them, and the channels they end in."""
        holder = "layers" if self.names == "nested" else "block"
        make = BottleneckLayer if self.bottleneck else Layer
        before = self.stem
        body: OrderedDict[str, nn.Module] = OrderedDict()
        for number, count in enumerate(self.blocks, 1):
            layers: list[nn.Module] = [make(before + i * self.growth, self.growth) for i in range(count)]
            body[f"denseblock{number}"] = DenseBlock(holder, layers)
            before += count * self.growth
            if number < len(self.blocks):
                after = max(int(before * self.kept), 1)
                body[f"transition{number}"] = Transition(before, after, halve=side >= 2)
                before, side = after, side // 2
        return body, before
