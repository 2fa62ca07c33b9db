# SPDX-License-Identifier: Apache-2.0
"""U-Net (Ronneberger et al., MICCAI 2015), padded and with batch norm: 31.0 M parameters, as the original."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.networks.blocks import conv_norm, noise
from bench.networks.plant import Part, Site

SMALL = {"width": 8}
SITES = (
    Site("encoders.*", writes=("first",), reads=("second.0",)),
    Site("decoders.*.convolve", writes=("first",), reads=("second.0",)),
    Site("decoders.*", writes=("up",), reads=(Part("convolve.first.0", block=1),)),
    Site("", writes=("decoders.3.convolve.second",), reads=("head",)),
)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = conv_norm(inside, outside, 3)
        self.second = conv_norm(outside, outside, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Up(nn.Module):
    """Doubles the size, joins the encoder's map, convolves."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inside, outside, 2, stride=2)
        self.convolve = DoubleConv(2 * outside, outside)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.convolve(torch.cat([self.up(x), skip], dim=1))


class UNet(nn.Module):
    """Four steps down, four up, one skip per step."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        widths = [width * 2**step for step in range(5)]
        self.encoders = nn.ModuleList(
            DoubleConv(inside, outside)
            for inside, outside in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.decoders = nn.ModuleList(
            Up(inside, outside) for inside, outside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for encoder in self.encoders:
            if skips:
                x = F.max_pool2d(x, 2)
            x = encoder(x)
            skips.append(x)
        skips.pop()
        for decoder in self.decoders:
            x = decoder(x, skips.pop())
        return self.head(x)


def build(channels: int = 1, width: int = 64, classes: int = 2) -> nn.Module:
    """`width` is that of the first step; it doubles at each step down."""
    return UNet(channels, width, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 1, size, size)`, float32; `size` a multiple of 16; the paper's is 572, unpadded."""
    return (noise(batch, 1, size, size),)
