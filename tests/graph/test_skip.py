# SPDX-License-Identifier: Apache-2.0
"""What a recorded run does not compute looks as if it had been computed."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeshift.graph import shrink, trace
from edgeshift.graph.fronts.skip import SKIPPED

ATEN: Any = torch.ops.aten
CONVS = {1: ATEN.conv1d.default, 2: ATEN.conv2d.default, 3: ATEN.conv3d.default}


def looks_like(made: Tensor | None, real: Tensor) -> None:
    assert made is not None
    assert (made.shape, made.dtype, made.stride()) == (real.shape, real.dtype, real.stride())
    assert not made.any()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_convolution_has_the_size_that_it_would_have(data: st.DataObject) -> None:
    draw = data.draw
    rank, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inner, outer = draw(st.integers(1, 3)) * groups, draw(st.integers(1, 3)) * groups
    kernel, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    x = torch.ones(draw(st.integers(1, 3)), inner, *[draw(st.integers(5, 8)) for _ in range(rank)])
    weight = torch.ones(outer, inner // groups, *[kernel] * rank)
    bias = torch.ones(outer) if draw(st.booleans()) else None
    padding = draw(st.sampled_from((0, 1, [1] * rank, list(range(rank)))))
    options = (
        x,
        weight,
        bias,
        [stride] * rank,
        padding if isinstance(padding, list) else [padding],
        [dilation],
    )
    looks_like(SKIPPED[CONVS[rank]](*options, groups), CONVS[rank](*options, groups))


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (1, 2, 2, 3), (0, 3)])
def test_a_linear_layer_has_the_size_that_it_would_have(shape: tuple[int, ...]) -> None:
    x, weight = torch.ones(shape), torch.ones(7, 3)
    looks_like(SKIPPED[ATEN.linear.default](x, weight), ATEN.linear.default(x, weight))
    looks_like(SKIPPED[ATEN.linear.default](x, weight, torch.ones(7)), ATEN.linear.default(x, weight))


@pytest.mark.parametrize("shapes", [((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 5, 1, 3), (2, 5, 3, 4))])
def test_a_product_has_the_size_that_it_would_have(shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = map(torch.ones, shapes)
    looks_like(SKIPPED[ATEN.matmul.default](a, b), a @ b)


ASKED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "other_types": (ATEN.linear.default, (torch.ones(2, 3), torch.ones(4, 3).double())),
    "whole_numbers": (ATEN.mm.default, (torch.ones(2, 3).int(), torch.ones(3, 4).int())),
    "channels_last": (
        ATEN.conv2d.default,
        (torch.ones(2, 4, 5, 5).contiguous(memory_format=torch.channels_last), torch.ones(3, 4, 2, 2)),
    ),
    "wrong_channels": (ATEN.conv2d.default, (torch.ones(2, 4, 5, 5), torch.ones(3, 5, 2, 2))),
    "too_small": (ATEN.conv1d.default, (torch.ones(2, 4, 2), torch.ones(3, 4, 3))),
    "no_filters": (ATEN.conv1d.default, (torch.ones(2, 4, 2), torch.ones(0, 4, 1))),
    "one_sample": (ATEN.conv1d.default, (torch.ones(4, 5), torch.ones(3, 4, 3))),
    "wrong_width": (ATEN.linear.default, (torch.ones(2, 3), torch.ones(4, 2))),
    "broadcast": (ATEN.matmul.default, (torch.ones(2, 3, 4), torch.ones(4, 5))),
    "transposed": (ATEN.mm.default, (torch.ones(3, 2).T, torch.ones(3, 4))),
}


@pytest.mark.parametrize("name", ASKED)
def test_whatever_is_odd_is_left_to_the_operator(name: str) -> None:
    operator, arguments = ASKED[name]
    assert SKIPPED[operator](*arguments) is None


def test_a_model_that_stumbles_over_zeros_is_recorded_with_every_number() -> None:
    class Stumbles(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.table, self.last = nn.Linear(4, 6), nn.Embedding(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            share = (x * x) / (x * x).sum(-1, keepdim=True)  # of zeros no number, and so no row of the table
            return self.last(x + self.table((share.amax(-1) * 2).long()))

    torch.manual_seed(0)
    model = Stumbles().eval()
    x = torch.randn(3, 4)
    with torch.no_grad():
        model.last.weight[:, 2] = 0
    assert trace(model, (x,)).tracer == "one recorded run"
    assert shrink(model, x).proof is not None
