# SPDX-License-Identifier: Apache-2.0
"""ESPNet: a class for every pixel, from convolutions of several dilations side by side."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import image_shape, kaiming_

# The published network's batch norm adds this to the variance.
EPSILON = 1e-3
# Output channels of the three levels of the encoder, and the dilations side by side.
STEM, SECOND, THIRD = 16, 64, 128
DILATIONS = (1, 2, 4, 8, 16)


def conv(before: int, after: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution without bias, called `conv`, that keeps the size but for its stride."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(before, after, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(OrderedDict(conv=layer))


def norm(width: int) -> nn.Sequential:
    """Batch norm `bn`, then a PReLU per channel `act`."""
    return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(width, EPSILON), act=nn.PReLU(width)))


def conv_norm(before: int, after: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution, batch norm and a PReLU."""
    return nn.Sequential(OrderedDict([*named(conv(before, after, 3, stride)), *named(norm(after))]))


def named(parts: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """The parts of a sequence with their names."""
    return list(parts.named_children())


def twice(before: int, after: int) -> nn.ConvTranspose2d:
    """A convolution that doubles both sides."""
    return nn.ConvTranspose2d(before, after, 2, 2, bias=False)


def cropped(x: Tensor, like: Tensor) -> Tensor:
    """The first rows and columns of x, as many as the other has; sides divisible by 8 need no crop."""
    return x if x.shape[2:] == like.shape[2:] else x[:, :, : like.shape[2], : like.shape[3]]


class Pyramid(nn.Module):
    """One narrow convolution, then several dilations of it; sums from small to large against gridding.

    Attributes:
        add: The input is added to the result.
    """

    def __init__(self, before: int, after: int, *, add: bool = False, down: bool = False) -> None:
        super().__init__()
        self.add = add
        narrow = after // len(DILATIONS)
        self.c1 = conv(before, narrow, 3, 2) if down else conv(before, narrow, 1)
        for dilation in DILATIONS:
            # The first takes what the division leaves over.
            width = after - (len(DILATIONS) - 1) * narrow if dilation == 1 else narrow
            self.add_module(f"d{dilation}", conv(narrow, width, 3, 1, dilation))
        # A block that halves the size has its norm and activation side by side, any other in one part.
        if down:
            self.bn: nn.Module = nn.BatchNorm2d(after, EPSILON)
            self.act: nn.Module = nn.PReLU(after)
        else:
            self.bn, self.act = norm(after), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, before, height, width)` to `(batch, after, ...)`; half the size, rounded up, if it halves."""
        y = self.c1(x)
        first, *wider = [self.get_submodule(f"d{dilation}")(y) for dilation in DILATIONS]
        parts = [first, wider[0]]
        for part in wider[1:]:
            parts.append(parts[-1] + part)
        y = torch.cat(parts, 1)
        result: Tensor = self.act(self.bn(x + y if self.add else y))
        return result


class Encoder(nn.Module):
    """Halves the size three times; small copies of the image join on the way."""

    def __init__(self, channels: int, blocks: tuple[int, int], width: int) -> None:
        super().__init__()
        self.level1 = conv_norm(channels, STEM, 2)
        self.small = nn.AvgPool2d(3, 2, 1)
        self.b1 = norm(STEM + channels)
        self.level2_0 = Pyramid(STEM + channels, SECOND, down=True)
        self.level2 = nn.Sequential(*[Pyramid(SECOND, SECOND, add=True) for _ in range(blocks[0])])
        self.b2 = norm(2 * SECOND + channels)
        self.level3_0 = Pyramid(2 * SECOND + channels, THIRD, down=True)
        self.level3 = nn.Sequential(*[Pyramid(THIRD, THIRD, add=True) for _ in range(blocks[1])])
        self.b3 = norm(2 * THIRD)
        self.classifier = conv(2 * THIRD, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at a half, a quarter and an eighth of the size."""
        half = self.small(x)
        quarter = self.small(half)
        first = self.b1(torch.cat([self.level1(x), half], 1))
        before = self.level2_0(first)
        second = self.b2(torch.cat([self.level2(before), before, quarter], 1))
        before = self.level3_0(second)
        third = self.b3(torch.cat([before, self.level3(before)], 1))
        return first, second, self.classifier(third)


class Network(nn.Module):
    """The encoder, and a light decoder that joins its three levels."""

    def __init__(self, channels: int, classes: int, blocks: tuple[int, int], width: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, blocks, width)
        self.br = nn.BatchNorm2d(width, EPSILON)
        self.up_l3 = nn.Sequential(twice(width, width))
        self.level3_C = conv(2 * SECOND + channels, width, 1)
        self.combine_l2_l3 = nn.Sequential(norm(2 * width), Pyramid(2 * width, width))
        self.up_l2 = nn.Sequential(twice(width, width), norm(width))
        self.conv = conv_norm(width + STEM + channels, width, 1)
        self.classifier = twice(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to logits `(batch, classes, height, width)`."""
        first, second, third = self.encoder(x)
        third = cropped(self.up_l3(self.br(third)), second)
        second = self.combine_l2_l3(torch.cat([self.level3_C(second), third], 1))
        second = cropped(self.up_l2(second), first)
        return cropped(self.classifier(self.conv(torch.cat([second, first], 1))), x)


@dataclass(frozen=True)
class Espnet:
    """ESPNet: logits for every pixel, `(batch, classes, height, width)`.

    Layers are called as in the authors' code. Sides that 8 does not divide are cropped where levels join.

    Attributes:
        blocks: Pyramids at a quarter and at an eighth of the size (p and q of the paper).
        width: Channels of the decoder; the authors take the number of classes.
    """

    card: ClassVar[Card] = Card(
        name="espnet",
        says="ESPNet: a class for every pixel from dilated convolutions side by side, 355 k parameters.",
        paper="Mehta et al., ECCV 2018",
        link="https://arxiv.org/abs/1803.06815",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"espnet_p2_q8": {"blocks": [2, 8], "width": 12}}

    blocks: Sequence[int] = (2, 8)
    width: int = 12

    def __post_init__(self) -> None:
        if len(self.blocks) != 2 or min(self.blocks) < 1:
            raise BadValue("blocks", self.blocks, "two positive numbers")
        if self.width < len(DILATIONS):
            raise BadValue("width", self.width, f"at least {len(DILATIONS)}")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        channels, _, _ = image_shape(input_shape)
        at_quarter, at_eighth = self.blocks
        return kaiming_(Network(channels, classes, (at_quarter, at_eighth), self.width))
