# SPDX-License-Identifier: Apache-2.0
"""ViT-Ti/16 (Dosovitskiy et al., ICLR 2021; Touvron et al., ICML 2021): 5,717,416 parameters at size 224.

Variant `fused` has its own attention with one linear layer for query, key and value; `multihead` uses
`nn.MultiheadAttention`, whose head count is tied to its width, so that no head can go.
"""

import torch
from torch import Tensor, nn

from bench.networks.blocks import Mlp, noise
from bench.networks.plant import Part, Site

VARIANTS = {"fused": {"attention": "fused"}, "multihead": {"attention": "multihead"}}
SMALL = {"width": 48, "depth": 2}
SITES = (
    Site("blocks.*.mlp", writes=("fc1",), reads=("fc2",)),
    Site(
        "blocks.*.attention",
        writes=(Part("qkv", repeat=3),),
        reads=("project",),
        kinds=("zero", "unread"),
        units="heads",
    ),
)


class Attention(nn.Module):
    """Self-attention with one linear layer for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        out = (weights @ v).transpose(1, 2).reshape(B, T, self.heads * self.head_dim)
        return self.project(out)


class TorchAttention(nn.Module):
    """Self-attention by torch's own module."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.attend(x, x, x, need_weights=False)
        return out


class Block(nn.Module):
    """Attention and MLP, each behind a norm and around a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int, attention: type[nn.Module]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, blocks, linear on the class token."""

    def __init__(
        self, image: int, patch: int, width: int, depth: int, heads: int, classes: int, attention: str
    ) -> None:
        super().__init__()
        kinds: dict[str, type[nn.Module]] = {"fused": Attention, "multihead": TorchAttention}
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[Block(width, heads, 4 * width, kinds[attention]) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.norm(self.blocks(x + self.positions))
        return self.head(x[:, 0])


def build(
    attention: str = "fused",
    image: int = 64,
    patch: int = 16,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    classes: int = 1000,
) -> nn.Module:
    """`attention` is fused or multihead."""
    return VisionTransformer(image, patch, width, depth, heads, classes, attention)


def example(batch: int = 2, size: int = 64) -> tuple[Tensor, ...]:
    """`(batch, 3, size, size)`, float32; the paper's size is 224."""
    return (noise(batch, 3, size, size),)
