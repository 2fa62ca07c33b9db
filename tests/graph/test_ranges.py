# SPDX-License-Identifier: Apache-2.0
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeshift.graph import shrink
from edgeshift.graph.fronts.torch_export import trace
from edgeshift.graph.ranges import Ranges


class Between(nn.Module):
    """A function between two convolutions, the second of which does not read half of its channels."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.b.weight[:, :4] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x)))


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
BURSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda x: x.relu().log(),
    "sqrt": torch.sqrt,
    "rsqrt": lambda x: x.relu().rsqrt(),
    "reciprocal": lambda x: x.sigmoid().reciprocal(),
    "div": lambda x: 1 / x.relu(),
    "normalised": lambda x: x / x.norm(dim=1, keepdim=True),
    "pow": lambda x: x**0.5,
    "negative_pow": lambda x: (x + 100) ** -1,
    "exp": torch.exp,
    "acos": torch.acos,
    "log1p": torch.log1p,
}
HOLDS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda x: (x.square() + 1).log(),
    "sqrt": lambda x: (x * x).sqrt(),
    "rsqrt": lambda x: (x.abs() + 1e-5).rsqrt(),
    "reciprocal": lambda x: (2 + x.tanh()).reciprocal(),
    "div": lambda x: x / 6,
    "div_by_clip": lambda x: x / x.relu().clamp(min=0.5, max=4),
    "layer_norm": lambda x: (
        (x - x.mean((2, 3), keepdim=True))
        / ((x - x.mean((2, 3), keepdim=True)) ** 2).mean((2, 3), keepdim=True).add(1e-5).sqrt()
    ),
    "variance": lambda x: x / (x.var((2, 3), keepdim=True) + 1e-5).sqrt(),
    "normalize": lambda x: F.normalize(x, dim=2),
    "pow": lambda x: (x - 1) ** 2,
    "softmax": lambda x: (x - x.amax(2, keepdim=True)).exp(),
    "exp": lambda x: (x.clamp(-5, 5) * -2).exp(),
}


@pytest.mark.parametrize("name", BURSTS)
def test_zero_times_what_may_be_infinite_is_not_taken_for_zero(name: str) -> None:
    shrunk = shrink(Between(BURSTS[name]), X)
    assert shrunk.report.after.widths == {"a": 8, "b": 4}


@pytest.mark.parametrize("name", HOLDS)
def test_a_function_that_stays_finite_does_not_keep_channels(name: str) -> None:
    shrunk = shrink(Between(HOLDS[name]), X)
    assert shrunk.report.after.widths["a"] == (8 if shrunk.report.unruled else 4)


class Made(nn.Module):
    """One function of the input."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (torch.relu, 0, math.inf),
        (lambda x: x.clamp(-1, 3) * -2, -6, 2),
        (lambda x: x.clamp(-1, 3) + x.sigmoid(), -1, 4),
        (lambda x: 1 - x.sigmoid(), -math.inf, math.inf),
        (lambda x: x.sigmoid() - 1, -1, 0),
        (lambda x: x.tanh().abs().neg(), -math.inf, 0),
        (lambda x: torch.maximum(x, torch.ones(3)), 1, math.inf),
        (lambda x: x.sigmoid().exp(), 0, math.e),
        (lambda x: x.clamp(4, 9).sqrt(), 2, 3),
        (lambda x: x.relu().sum(1), 0, math.inf),
        (lambda x: x.softmax(1).reshape(-1), 0, 1),
        (lambda x: x, -math.inf, math.inf),
    ],
)
def test_bounds(function: Callable[[Tensor], Tensor], low: float, high: float) -> None:
    graph = trace(Made(function), (torch.randn(2, 3),))
    assert Ranges(graph).of(graph.outputs[0]) == (low, pytest.approx(high))
