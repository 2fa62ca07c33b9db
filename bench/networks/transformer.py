# SPDX-License-Identifier: Apache-2.0
"""Transformer base (Vaswani et al., NeurIPS 2017), encoder and decoder.

63.1 M parameters at the paper's 37,000 tokens, where the paper says 65 M. One embedding serves source, target
and output, as there.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.networks.blocks import tokens
from bench.networks.plant import Part, Site

SMALL = {"depth": 1, "width": 64, "hidden": 96, "heads": 4}
VOCABULARY = 1000


def _attention_sites(at: str) -> tuple[Site, ...]:
    kinds = ("zero", "unread")
    return (
        Site(at, writes=("query",), reads=(Part("key", axis=0),), kinds=kinds, even="heads"),
        Site(at, writes=("value",), reads=("out",), kinds=kinds, even="heads"),
    )


SITES = (
    *_attention_sites("encoder.*.attention"),
    *_attention_sites("decoder.*.attention"),
    *_attention_sites("decoder.*.cross"),
    Site("encoder.*", writes=("fc1",), reads=("fc2",)),
    Site("decoder.*", writes=("fc1",), reads=("fc2",)),
)


class Attention(nn.Module):
    """Attention with separate layers for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """`(B, T, C)` to `(B, heads, T, C / heads)`."""
        B, T, _ = x.shape
        return x.view(B, T, self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(memory)), self.split(self.value(memory))
        scores = torch.matmul(q, k.transpose(-2, -1)) * self.scale
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        out = torch.matmul(scores.softmax(dim=-1), v)
        return self.out(out.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention and MLP, a norm after each sum."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, x))
        return self.norm2(x + self.fc2(F.relu(self.fc1(x))))


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, MLP, a norm after each sum."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, x, mask))
        x = self.norm2(x + self.cross(x, memory))
        return self.norm3(x + self.fc2(F.relu(self.fc1(x))))


class Transformer(nn.Module):
    """Source and target tokens in, scores of the next target token out."""

    def __init__(
        self, vocabulary: int, width: int, heads: int, hidden: int, depth: int, longest: int
    ) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden) for _ in range(depth))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, hidden) for _ in range(depth))
        self.register_buffer("positions", self.waves(longest, width), persistent=False)

    @staticmethod
    def waves(longest: int, width: int) -> Tensor:
        """Sines and cosines of falling frequency; `(longest, width)`."""
        place = torch.arange(longest)[:, None]
        angle = place * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)

    def embed(self, numbers: Tensor) -> Tensor:
        """Tokens and their positions."""
        return self.embedding(numbers) * math.sqrt(self.width) + self.positions[: numbers.shape[1]]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.embed(source)
        for layer in self.encoder:
            memory = layer(memory)
        T = target.shape[1]
        mask = torch.triu(torch.ones(T, T, dtype=torch.bool, device=target.device), diagonal=1)
        x = self.embed(target)
        for layer in self.decoder:
            x = layer(x, memory, mask)
        return F.linear(x, self.embedding.weight)


def build(
    vocabulary: int = VOCABULARY,
    width: int = 512,
    heads: int = 8,
    hidden: int = 2048,
    depth: int = 6,
    longest: int = 128,
) -> nn.Module:
    """The base model, with a smaller vocabulary unless told otherwise."""
    return Transformer(vocabulary, width, heads, hidden, depth, longest)


def example(batch: int = 2, source: int = 12, target: int = 9) -> tuple[Tensor, ...]:
    """`(batch, source)` and `(batch, target)`, int64."""
    return (
        tokens(batch, source, vocabulary=VOCABULARY, seed=0),
        tokens(batch, target, vocabulary=VOCABULARY, seed=1),
    )
