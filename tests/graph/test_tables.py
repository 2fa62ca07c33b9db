# SPDX-License-Identifier: Apache-2.0
"""Tables that are looked up by position."""

import torch
from torch import Tensor, nn

from edgeshift.graph import shrink
from tests.graph.properties import parameters

T, HEADS, WIDTH = 5, 4, 3
X = torch.randn(2, T, HEADS * WIDTH, generator=torch.Generator().manual_seed(0))


class Biased(nn.Module):
    """Attention with a learned bias per distance and head, as in window attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH)
        self.project = nn.Linear(HEADS * WIDTH, 7)
        self.table = nn.Parameter(torch.randn(2 * T - 1, HEADS))
        self.heads = HEADS
        spots = torch.arange(T)
        self.register_buffer("index", spots[:, None] - spots[None, :] + T - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).reshape(len(x), T, 3, self.heads, WIDTH).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = q @ k.transpose(-2, -1) + self.table[self.index].permute(2, 0, 1)
        return self.project((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_a_table_of_biases_loses_the_heads_that_nobody_reads() -> None:
    model = Biased().eval()
    with torch.no_grad():
        model.project.weight[:, WIDTH : 2 * WIDTH] = 0
    shrunk = shrink(model, X)
    assert shrunk.report.unruled == {}
    assert shrunk.model.table.shape == (2 * T - 1, HEADS - 1)
    assert shrunk.model.heads == HEADS - 1
    gone = WIDTH * (HEADS * WIDTH + 1) * 3 + 7 * WIDTH + (2 * T - 1)
    assert parameters(shrunk.model) == parameters(model) - gone


class Windowed(nn.Module):
    """Attention within windows; where they meet the border, a mask differs from window to window."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH)
        self.project = nn.Linear(HEADS * WIDTH, 7)
        self.heads, self.windows = HEADS, 2
        self.register_buffer("mask", torch.randn(2, T, T))

    def forward(self, x: Tensor) -> Tensor:
        B = len(x)
        q, k, v = self.qkv(x).reshape(B, T, 3, self.heads, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)).view(B // self.windows, self.windows, self.heads, T, T)
        scores = (scores + self.mask[None, :, None]).view(-1, self.heads, T, T)
        return self.project((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_a_mask_that_differs_between_windows_does_not_hold_dead_heads() -> None:
    model = Windowed().eval()
    with torch.no_grad():
        model.project.weight[:, WIDTH : 2 * WIDTH] = 0
    small = shrink(model, torch.randn(4, T, HEADS * WIDTH)).model
    assert small.heads == HEADS - 1
    assert small.qkv.weight.shape == (3 * (HEADS - 1) * WIDTH, HEADS * WIDTH)
