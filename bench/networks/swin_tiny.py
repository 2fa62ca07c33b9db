# SPDX-License-Identifier: Apache-2.0
"""Swin-T (Liu et al., ICCV 2021): 28,288,354 parameters at size 224, window 7, 1000 classes."""

import torch
from torch import Tensor, nn

from bench.networks.blocks import Mlp, noise
from bench.networks.plant import Part, Site

SMALL = {"width": 24, "depths": (2, 2), "heads": (3, 6)}
SITES = (
    Site("stages.*.*.mlp", writes=("fc1",), reads=("fc2",)),
    Site(
        "stages.*.*.attention",
        writes=(Part("qkv", repeat=3),),
        reads=("project",),
        kinds=("zero", "unread"),
        units="heads",
    ),
)


class WindowAttention(nn.Module):
    """Self-attention within a window, with a learned bias per offset and head."""

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.bias_table = nn.Parameter(0.02 * torch.randn((2 * window - 1) ** 2, heads))
        spots = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        offset = spots[:, :, None] - spots[:, None, :] + window - 1
        self.register_buffer("bias_index", offset[0] * (2 * window - 1) + offset[1], persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        B, T, _ = x.shape
        qkv = self.qkv(x).reshape(B, T, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.bias_table[self.bias_index.view(-1)].view(T, T, -1).permute(2, 0, 1)
        scores = scores + bias.unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            scores = scores.view(B // windows, windows, self.heads, T, T) + mask[None, :, None]
            scores = scores.view(-1, self.heads, T, T)
        out = scores.softmax(dim=-1) @ v
        return self.project(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention in (shifted) windows and an MLP, each behind a norm and around a shortcut."""

    def __init__(self, width: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.window = min(window, side)
        self.shift = shift if side > window else 0
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, self.window, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.register_buffer("mask", self.shift_mask(side) if self.shift else None, persistent=False)

    def shift_mask(self, side: int) -> Tensor:
        """-100 where two spots of a window were not neighbours before the roll; `(windows, T, T)`."""
        band = torch.zeros(side, dtype=torch.int64)
        band[side - self.window :] = 1
        band[side - self.shift :] = 2
        area = (3 * band[:, None] + band[None, :]).float()
        regions = self.partition(area[None, :, :, None]).squeeze(-1)
        differ = regions[:, None, :] != regions[:, :, None]
        return differ.float() * -100.0

    def partition(self, x: Tensor) -> Tensor:
        """`(B, H, W, C)` to `(B * windows, window * window, C)`."""
        B, H, W, C = x.shape
        w = self.window
        x = x.view(B, H // w, w, W // w, w, C).permute(0, 1, 3, 2, 4, 5)
        return x.contiguous().view(-1, w * w, C)

    def merge(self, x: Tensor, H: int, W: int) -> Tensor:
        """Undoes `partition`."""
        w = self.window
        C = x.shape[-1]
        x = x.view(-1, H // w, W // w, w, w, C).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, H, W, C)

    def forward(self, x: Tensor) -> Tensor:
        _, H, W, _ = x.shape
        out = self.norm1(x)
        if self.shift:
            out = torch.roll(out, shifts=(-self.shift, -self.shift), dims=(1, 2))
        out = self.merge(self.attention(self.partition(out), self.mask), H, W)
        if self.shift:
            out = torch.roll(out, shifts=(self.shift, self.shift), dims=(1, 2))
        x = x + out
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Joins each 2x2 spots, halves the channels of the result."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduce(self.norm(torch.cat(corners, -1)))


class Swin(nn.Module):
    """Patches, stages of windowed attention with merging between, linear."""

    def __init__(
        self,
        image: int,
        window: int,
        width: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.patch_norm = nn.LayerNorm(width)
        side, stages = image // 4, []
        for stage, depth in enumerate(depths):
            layers: list[nn.Module] = []
            if stage > 0:
                layers.append(PatchMerging(width))
                width, side = 2 * width, side // 2
            for block in range(depth):
                shift = window // 2 if block % 2 else 0
                layers.append(Block(width, heads[stage], side, window, shift))
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        x = self.stages(self.patch_norm(x))
        return self.head(self.norm(x).mean((1, 2)))


def build(
    image: int = 64,
    window: int = 4,
    width: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
    classes: int = 1000,
) -> nn.Module:
    """`window` must divide each stage's side or exceed it; the paper's is 7 at size 224."""
    return Swin(image, window, width, depths, heads, classes)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; `size` as built."""
    return (noise(batch, 3, size, size),)
