# SPDX-License-Identifier: Apache-2.0
import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgeshift.graph import shrink
from edgeshift.graph.widen import widened

CASTS: dict[str, Callable[[Tensor], Tensor]] = {
    "float": lambda x: x.float(),
    "half_and_back": lambda x: x.half().float(),
    "bfloat16": lambda x: x.bfloat16().float(),
    "to": lambda x: x.to(torch.float16).to(dtype=torch.float32),
    "type": lambda x: x.type(torch.float32),
    "made_here": lambda x: torch.cat([x[:, :-1], torch.zeros(x.shape[0], 1, *x.shape[2:])], 1),
    "made_as": lambda x: x @ torch.eye(x.shape[-1], dtype=torch.float32),
}


class Cast(nn.Module):
    """A cast of the user's own between two convolutions."""

    def __init__(self, cast: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.cast = cast
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            self.a.weight[:3] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.cast(self.a(x)))


# A constant that is rounded on the way stays where it is; one next to another sort of entry is no constant.
LEFT = {"float": 5, "half_and_back": 8, "bfloat16": 8, "to": 8, "type": 5, "made_here": 8, "made_as": 8}


@pytest.mark.parametrize("name", CASTS)
def test_a_model_that_casts_is_proven_in_float64_all_the_same(name: str) -> None:
    shrunk = shrink(Cast(CASTS[name]), torch.randn(2, 3, 6, 6))
    assert shrunk.proof is not None
    assert shrunk.proof.max_error_float64 <= 1e-9
    assert shrunk.report.after.widths["a"] == LEFT[name]


def test_outside_nothing_is_wider() -> None:
    with widened():
        assert torch.zeros(2).dtype == torch.ones(2, dtype=torch.float32).float().dtype == torch.float64
        assert torch.arange(3).dtype == torch.int64
    assert torch.zeros(2).dtype == torch.float32
    assert torch.zeros(2, dtype=torch.float64).float().dtype == torch.float32


def test_a_narrow_parameter_is_read_in_float64_and_stays_what_it_is() -> None:
    layer = nn.Linear(3, 2)
    with widened(), torch.no_grad():
        y = layer(torch.ones(1, 3))
        assert layer.weight.dtype == torch.float64
    assert y.dtype == torch.float64
    assert torch.allclose(y, layer.weight.double().sum(1) + layer.bias.double(), rtol=1e-15)  # order of sums
    assert layer.weight.dtype == torch.float32


def test_a_narrow_tensor_that_is_written_to_is_the_one_that_changes() -> None:
    kept = torch.ones(2)
    with widened():
        kept.add_(kept)
        kept[0] = 5
    assert kept.tolist() == [5.0, 2.0]


def test_a_recurrent_layer_runs_in_float64_without_a_copy() -> None:
    layer = nn.GRU(3, 4, batch_first=True)
    with widened(), torch.no_grad():
        assert layer(torch.ones(1, 2, 3))[0].dtype == torch.float64


LARGE: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 50), (4, 6)),
    "linear_of_one_row": (nn.Linear(6, 50, bias=False), (6,)),
    "conv1d": (nn.Conv1d(5, 40, 3, stride=2, padding=1), (3, 5, 9)),
    "conv2d": (nn.Conv2d(5, 40, 3, padding=1, dilation=2, bias=False), (3, 5, 9, 9)),
    "conv2d_of_one_sample": (nn.Conv2d(5, 40, 3), (5, 9, 9)),
    "conv3d": (nn.Conv3d(5, 40, 2), (2, 5, 4, 4, 4)),
    "grouped": (nn.Conv2d(8, 40, 3, groups=4), (2, 8, 5, 5)),
    "no_samples": (nn.Conv2d(5, 40, 3), (0, 5, 9, 9)),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_weight_widened_in_parts_gives_the_whole_answer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeshift.graph.widen.PART", 32)
    layer, shape = LARGE[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with widened():
            got = layer(x)
        wanted = copy.deepcopy(layer).double()(x.double())
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, wanted, rtol=1e-13, atol=1e-13)  # sums in another order
