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
TRANSPOSED = {
    1: ATEN.conv_transpose1d.default,
    2: ATEN.conv_transpose2d.input,
    3: ATEN.conv_transpose3d.input,
}
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


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_transposed_convolution_has_the_size_that_it_would_have(data: st.DataObject) -> None:
    draw = data.draw
    rank, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inner, outer = draw(st.integers(1, 3)) * groups, draw(st.integers(1, 3))
    kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    x = torch.ones(draw(st.integers(1, 3)), inner, *[draw(st.integers(3, 6)) for _ in range(rank)])
    weight = torch.ones(inner, outer, *[kernel] * rank)
    bias = torch.ones(outer * groups) if draw(st.booleans()) else None
    more = draw(st.integers(0, max(stride, dilation) - 1))
    options = (x, weight, bias, [stride], [draw(st.integers(0, 1))] * rank, [more], groups, [dilation])
    try:
        real = TRANSPOSED[rank](*options)
    except RuntimeError:  # nothing would be left
        assert SKIPPED[TRANSPOSED[rank]](*options) is None
        return
    looks_like(SKIPPED[TRANSPOSED[rank]](*options), real)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_largest_of_a_window_has_the_size_that_it_would_have(data: st.DataObject) -> None:
    draw = data.draw
    kernel, pool = draw(st.integers(1, 3)), ATEN.max_pool2d.default
    x = torch.ones(
        draw(st.integers(1, 3)), draw(st.integers(1, 3)), *[draw(st.integers(5, 8)) for _ in range(2)]
    )
    stride = draw(st.sampled_from(([], [1], [2, 3])))
    options = (x, [kernel], stride, [draw(st.integers(0, kernel // 2))], [draw(st.integers(1, 2))])
    looks_like(SKIPPED[pool](*options), pool(*options))
    assert SKIPPED[pool](*options, True) is None  # rounded up


def entries() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Operators that work entry by entry, and norms, with arguments of all kinds that are not computed."""
    x, row = torch.ones(2, 3, 4, 5), torch.ones(3)
    found: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "batch_norm": (ATEN.batch_norm.default, (x, row, row, row, row, False, 0.1, 1e-5, False)),
        "bare_batch_norm": (ATEN.batch_norm.default, (x, None, None, row, row, False, 0.1, 1e-5, False)),
        "layer_norm": (ATEN.layer_norm.default, (x, [4, 5], torch.ones(4, 5), torch.ones(4, 5))),
        "bare_layer_norm": (ATEN.layer_norm.default, (x, [5])),
        "gate": (ATEN.mul.Tensor, (x, torch.ones(2, 3, 1, 1))),
        "sum": (ATEN.add.Tensor, (x, x)),
        "number": (ATEN.mul.Tensor, (x, 0.5)),
        "double": (ATEN.sub.Tensor, (x.double(), x.double())),
    }
    names = ("relu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "relu6", "mish")
    return found | {name: (getattr(ATEN, name).default, (x,)) for name in names}


@pytest.mark.parametrize("name", entries())
def test_entries_and_norms_have_the_size_that_they_would_have(name: str) -> None:
    operator, arguments = entries()[name]
    looks_like(SKIPPED[operator](*arguments), operator(*arguments))


@pytest.mark.parametrize(
    "name", ["relu_", "silu_", "sigmoid_", "hardswish_", "hardsigmoid_", "relu6_", "add_"]
)
def test_what_works_in_place_gives_the_tensor_itself(name: str) -> None:
    x = torch.ones(2, 3)
    operator = ATEN.add_.Tensor if name == "add_" else getattr(ATEN, name).default
    assert SKIPPED[operator](x, *([x + 1] if name == "add_" else [])) is x
    assert SKIPPED[operator](x.int(), *([x] if name == "add_" else [])) is None


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
    "learns": (ATEN.batch_norm.default, (torch.ones(2, 3), *[torch.ones(3)] * 4, True, 0.1, 1e-5, False)),
    "other_width": (
        ATEN.batch_norm.default,
        (torch.ones(2, 3), *[torch.ones(4)] * 4, False, 0.1, 1e-5, False),
    ),
    "other_axis": (ATEN.layer_norm.default, (torch.ones(2, 3), [2])),
    "grows": (ATEN.add.Tensor, (torch.ones(2, 1), torch.ones(2, 3))),
    "fewer_axes": (ATEN.add.Tensor, (torch.ones(2, 3), torch.ones(3))),
    "whole_number": (ATEN.mul.Tensor, (torch.ones(2, 3), 2)),
    "mixed": (ATEN.mul.Tensor, (torch.ones(2, 3), torch.ones(2, 3).double())),
    "channels_last_entries": (
        ATEN.relu.default,
        (torch.ones(2, 4, 5, 5).contiguous(memory_format=torch.channels_last),),
    ),
    "narrow_window": (ATEN.max_pool2d.default, (torch.ones(1, 1, 2, 2), [3])),
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
