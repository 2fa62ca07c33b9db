# SPDX-License-Identifier: Apache-2.0
import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from edgeshift.core.errors import BadWeights, Untraceable
from edgeshift.core.shape_plan import ShapePlan, resize_
from edgeshift.graph import Shrunk, channel_groups, count, shrink
from tests.graph.properties import answers, difference, parameters

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def kill(layer: nn.Module, *channels: int, bias: float | None = 0.0) -> None:
    """Zero the filters (or rows) of these channels; the bias becomes a number, or stays where it is None."""
    with torch.no_grad():
        layer.weight[list(channels)] = 0
        if bias is not None and layer.bias is not None:
            layer.bias[list(channels)] = bias


def ignore(layer: nn.Module, *channels: int) -> None:
    """Zero the columns that read these channels."""
    with torch.no_grad():
        layer.weight[:, list(channels)] = 0


def shrunk_is_equal(model: nn.Module, *inputs: Tensor) -> Shrunk:
    """Shrink, and compare both models in float64 on inputs of our own."""
    shrunk = shrink(model.eval(), inputs)
    assert shrunk.report.after.parameters == parameters(shrunk.model)
    wide = copy.deepcopy(model).double().eval()
    small = shrink(wide, tuple(x.double() for x in inputs)).model
    fresh = tuple(torch.randn(x.shape, dtype=torch.float64) * 2 for x in inputs)
    for a, b in zip(answers(wide, fresh), answers(small, fresh), strict=True):
        assert difference(a, b) <= 1e-9
    return shrunk


# What goes.


def test_a_zero_filter_goes_from_both_its_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    kill(model[0], 1, 5)
    shrunk = shrunk_is_equal(model, X)
    assert parameters(shrunk.model) == (6 * 27 + 6) + (4 * 6 * 9 + 4)
    assert shrunk.report.constant == {"0": 2}
    assert shrunk.report.unread == {"0": 0}


def test_an_unread_filter_goes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    ignore(model[2], 0, 7)
    shrunk = shrunk_is_equal(model, X)
    assert parameters(shrunk.model) == (6 * 27 + 6) + (4 * 6 * 9 + 4)
    assert shrunk.report.unread == {"0": 2}


def test_live_norm_bias_of_dead_filters_leaves_one_carrier_before_a_padded_conv() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)
    )
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[1].bias.copy_(torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0, 0.1, 0.2, 0.3]))
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"0": 4, "3": 4}
    assert parameters(shrunk.model) == 4 * 27 + 2 * 4 + (4 * 4 * 9 + 4)


@pytest.mark.parametrize(("kernel", "mode"), [(1, "zeros"), (3, "zeros"), (3, "circular"), (3, "reflect")])
def test_live_norm_bias_of_dead_filters_folds_where_no_zeros_are_padded(kernel: int, mode: str) -> None:
    padding = 0 if mode == "zeros" else 1
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, kernel, padding=padding, padding_mode=mode, bias=False),
    )
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[1].bias[:5] = 1
    shrunk = shrunk_is_equal(model, X)
    assert parameters(shrunk.model) == 3 * 27 + 2 * 3 + (4 * 3 * kernel**2 + 4)


def test_dead_filters_whose_norm_bias_is_below_zero_leave_no_carrier_after_relu() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)
    )
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[1].bias[:5] = -1
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths["0"] == 3


def test_a_death_travels_through_a_chain_of_layers() -> None:
    model = nn.Sequential(
        *(m for i in range(4) for m in (nn.Conv2d(4 if i else 3, 4, 1, bias=False), nn.ReLU()))
    )
    with torch.no_grad():
        for conv in (model[2], model[4]):  # channel i reads channel i only
            conv.weight.copy_(torch.eye(4)[:, :, None, None])
        model[0].weight[0] = 0  # forwards: 0 dies here, in conv 2 and in conv 4
        model[6].weight[:, 1] = 0  # backwards: nobody reads 1
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"0": 2, "2": 2, "4": 2, "6": 4}
    assert parameters(shrunk.model) == 2 * 3 + 2 * 2 + 2 * 2 + 4 * 2


def test_zero_norm_scale_kills_a_live_filter() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    with torch.no_grad():
        model[1].weight[:3] = 0
        model[1].bias[:3] = 2
    shrunk = shrunk_is_equal(model, X)
    assert parameters(shrunk.model) == (5 * 27 + 5) + 10 + (4 * 5 + 4)


class Block(nn.Module):
    """`head(stem(x) + body(stem(x)))`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        return self.head(y + self.body(y).relu())


def test_a_residual_channel_stays_where_one_branch_lives() -> None:
    model = Block()
    kill(model.body, 0, 1, 2)
    assert shrunk_is_equal(model, X).report.after.widths == {"stem": 6, "body": 6, "head": 2}


def test_a_residual_channel_goes_where_both_branches_are_dead() -> None:
    model = Block()
    kill(model.body, 0, 1, 2)
    kill(model.stem, 2, 3)
    assert shrunk_is_equal(model, X).report.after.widths == {"stem": 5, "body": 5, "head": 2}


class Concat(nn.Module):
    """Two convolutions side by side, then one that reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(9, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.a(x), self.b(x)], 1))


def test_concat_finds_each_channel_in_its_place() -> None:
    model = Concat()
    kill(model.a, 3)
    ignore(model.c, 4, 8)  # channels 0 and 4 of b
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"a": 3, "b": 3, "c": 2}
    assert torch.equal(shrunk.model.b.weight, model.b.weight[1:4])


def test_a_depthwise_channel_goes_with_its_input() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )
    kill(model[0], 0)
    kill(model[1], 1, 2)
    with torch.no_grad():
        model[1].bias[0] = -1
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"0": 3, "1": 3, "3": 2}
    assert shrunk.model[1].groups == 3
    assert parameters(shrunk.model) == (3 * 3 + 3) + (3 * 9 + 3) + (2 * 3 + 2)


def test_groups_with_different_dead_channels_keep_as_many_as_the_fullest() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1, groups=2), nn.Conv2d(6, 2, 1))
    kill(model[0], 0, 1, 5)  # two of group 0, one of group 1
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"0": 6, "1": 6, "2": 2}
    assert shrunk.model[1].weight.shape == (6, 3, 1, 1)
    assert shrunk.report.revived == 1


def test_a_whole_group_goes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 9, 1), nn.Conv2d(9, 6, 1, groups=3), nn.Conv2d(6, 2, 1))
    kill(model[1], 2, 3)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model[1].groups == 2
    assert parameters(shrunk.model) == (6 * 3 + 6) + (4 * 3 + 4) + (2 * 4 + 2)


def test_flatten_gives_every_channel_a_run_of_columns() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5))
    kill(model[0], 2, bias=1.5)
    shrunk = shrunk_is_equal(model, X)
    assert parameters(shrunk.model) == (3 * 27 + 3) + (5 * 48 + 5)
    kept = [i for i in range(64) if i // 16 != 2]
    assert torch.equal(shrunk.model[3].weight, model[3].weight[:, kept])
    folded = model[3].bias + 1.5 * model[3].weight[:, 32:48].sum(1)
    assert torch.allclose(shrunk.model[3].bias, folded, atol=1e-6)


def test_a_flattened_channel_stays_as_long_as_one_position_is_read() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 16, 5))
    with torch.no_grad():
        model[2].weight[:, 16:] = 0
        model[2].weight[3, 31] = 1
    assert shrunk_is_equal(model, X).report.after.widths == {"0": 2, "2": 5}


class OptionA(nn.Module):
    """A residual block whose shortcut skips pixels and pads channels with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(self.body(y) + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))


def test_a_channel_padding_shortcut_keeps_its_padding_and_loses_what_it_carries() -> None:
    model = OptionA()
    kill(model.stem, 1)
    kill(model.body, 3)  # the same channel, two further on
    kill(model.body, 0)  # beside padding, which is spelled out
    assert shrunk_is_equal(model, X).report.after.widths == {"stem": 3, "body": 7, "head": 2}


class Gated(nn.Module):
    """Squeeze and excite between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.up, self.b = (
            nn.Conv2d(3, 8, 1),
            nn.Linear(8, 4),
            nn.Linear(4, 8),
            nn.Conv2d(8, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        gate = self.up(self.down(y.mean((2, 3))).relu()).sigmoid()
        return self.b(y * gate[:, :, None, None])


def test_a_gate_loses_the_channels_it_gates() -> None:
    model = Gated()
    kill(model.a, 0, 1)
    kill(model.down, 3, bias=-1)
    assert shrunk_is_equal(model, X).report.after.widths == {"a": 6, "down": 3, "up": 6, "b": 2}


def test_prelu_loses_its_slopes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.PReLU(8), nn.Conv2d(8, 2, 1))
    kill(model[0], 4, bias=-2)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model[1].weight.shape == (7,)
    assert shrunk.model[1].num_parameters == 7


@pytest.mark.parametrize("dead", [(0, 1, 2, 3), (0, 2, 3)])
def test_one_channel_is_left_where_all_or_all_but_one_are_dead(dead: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    kill(model[0], *dead, bias=1)
    kept = 1 if len(dead) == 4 else 2  # a live one and one to carry the constant
    assert shrunk_is_equal(model, X).report.after.widths == {"0": kept, "2": 2}


def test_an_output_layer_keeps_its_dead_rows() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 5))
    kill(model[2], 0, 1, 2, 3, 4, bias=None)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"0": 1, "2": 5}


class Two(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(i, o, 1) for i, o in ((3, 6), (2, 6), (6, 2), (6, 3)))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        a = self.a(x)
        return self.c(a + self.b(y)), self.d(a)


def test_a_channel_goes_if_no_output_depends_on_it() -> None:
    model = Two()
    ignore(model.c, 0, 1)
    ignore(model.d, 1, 2)
    shrunk = shrunk_is_equal(model, X, torch.randn(2, 2, 6, 6))
    assert shrunk.report.after.widths == {"a": 5, "b": 5, "c": 2, "d": 3}


# What two uses of one tensor mean.


class Twice(nn.Module):
    """One convolution, run on two tensors."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.shared, self.head = nn.Conv2d(8, 4, 3, groups=groups), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(self.a(x)) * self.shared(self.b(x)))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_layer_that_runs_twice_loses_only_what_is_dead_both_times(groups: int) -> None:
    model = Twice(groups)
    kill(model.a, 0, 1, 5)
    kill(model.b, 1, 5, 7)
    assert shrunk_is_equal(model, X).report.after.widths == {"a": 6, "b": 6, "shared": 4, "head": 2}


@pytest.mark.parametrize("groups", [1, 2])
def test_a_layer_that_runs_twice_keeps_constants_it_cannot_fold_for_one_run_alone(groups: int) -> None:
    model = Twice(groups)
    kill(model.a, 1, 5, bias=1)
    kill(model.b, 1, 5, bias=2)
    assert shrunk_is_equal(model, X).report.after.widths["a"] == 8


def test_a_layer_whose_weight_has_two_names_is_one_layer() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    model[1].weight = model[0].weight
    with torch.no_grad():
        model[0].weight[:, 3] = 0
        model[0].weight[3] = 0
        model[0].bias[3] = model[1].bias[3] = 0
    shrunk = shrunk_is_equal(model, torch.randn(2, 6))
    assert shrunk.model[0].weight is shrunk.model[1].weight
    assert shrunk.report.before.parameters == 36 + 6 + 6 + 14


class OneBias(nn.Module):
    """Two readers with one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        self.c.bias = self.b.bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.a(x)
        return self.b(y), self.c(y.sigmoid())


def test_constants_do_not_fold_into_a_bias_that_two_layers_share() -> None:
    model = OneBias()
    kill(model.a, 0, 1, 2, bias=1)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths["a"] == 6  # one carrier
    assert shrunk.model.b.bias is shrunk.model.c.bias


class Borrowed(nn.Module):
    """Runs with the weight of a layer, but not through the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.a(x), self.b.weight)


def test_a_layer_that_only_lends_its_weight_gets_no_bias() -> None:
    model = Borrowed()
    kill(model.a, 0, 1, 2, bias=1)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model.b.bias is None
    assert shrunk.report.after.widths["a"] == 6


# NaN and infinity.


def test_a_zero_weight_still_reads_a_channel_that_is_nan() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight[1, 0] = float("nan")
    kill(model[1], 0, 1, 2, 3)
    shrunk = shrunk_is_equal(model, X)
    assert bool(shrunk.model(X).isnan().all())


def test_a_nan_weight_still_reads_a_channel_that_is_zero() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    kill(model[0], 1)
    with torch.no_grad():
        model[1].weight[2, 1] = float("inf")
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths["0"] == 4
    assert bool(shrunk.model(X).isnan().all())


def test_nan_in_a_row_that_nobody_reads_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    kill(model[0], 1)
    with torch.no_grad():
        model[0].weight[2] = float("nan")
    assert shrunk_is_equal(model, X).report.after.widths["0"] == 3


def test_denormal_weights_are_not_zero() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False))
    with torch.no_grad():
        model[0].weight[1] = 1e-42
    assert shrunk_is_equal(model, X).report.after.widths["0"] == 4


# What the caller can count on.


def test_the_input_is_not_changed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    kill(model[0], 1, 2, bias=None)
    model.train()
    model[1].eval()
    before = {n: t.numpy().tobytes() for n, t in model.state_dict().items()}
    shrink(model, X)
    assert before == {n: t.numpy().tobytes() for n, t in model.state_dict().items()}
    assert [m.training for m in model.modules()] == [True, True, False, True, True]


def test_the_result_is_of_the_same_class_with_what_else_it_holds() -> None:
    model = Block()
    model.note = {"epochs": 3}
    model.stem.weight.requires_grad_(False)
    kill(model.stem, 2)
    kill(model.body, 2)
    small = shrink(model, X).model
    assert type(small) is Block
    assert small.note == {"epochs": 3}
    assert not small.stem.weight.requires_grad
    assert small.body.weight.requires_grad


def test_weights_are_contiguous_and_attributes_fit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    kill(model[0], 1, 2)
    model.to(memory_format=torch.channels_last)
    small = shrink(model, X).model
    assert all(p.is_contiguous() for p in small.parameters() if p.dim() == 4 and p.shape[-1] > 1)
    assert (small[0].out_channels, small[1].num_features, small[2].in_channels) == (6, 6, 6)


def test_a_saved_plan_rebuilds_the_result_bit_by_bit() -> None:
    def factory() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, groups=4, bias=False),
            nn.Conv2d(8, 2, 1, bias=False),
        ).eval()

    model = factory()
    kill(model[0], 1, 2, 3, bias=None)
    kill(model[2], 2, 3)
    shrunk = shrink(model, X)
    plan = ShapePlan.from_json(shrunk.plan.to_json())
    loaded = resize_(factory(), plan, shrunk.model.state_dict())
    assert torch.equal(loaded(X), shrunk.model(X))


def test_the_result_can_be_trained() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 2))
    kill(model[0], 1, 2)
    small = shrink(model, X).model.train()
    small(X).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())


def test_nothing_dead_nothing_gone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    shrunk = shrink(model, X)
    assert shrunk.plan == ShapePlan()
    assert torch.equal(shrunk.model(X), model(X))
    assert shrunk.report.before == shrunk.report.after == count(model, X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_shrink(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).to(dtype)
    kill(model[0], 0, 1, bias=1)
    small = shrink(model, X.to(dtype)).model
    assert small[0].weight.shape[0] == 6
    assert {p.dtype for p in small.parameters()} == {dtype}


class Bag(nn.Module):
    """Takes a list, returns a dict with more than tensors in it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        kill(self.a, 0)

    def forward(self, xs: list[Tensor]) -> dict[str, object]:
        return {"y": self.b(self.a(xs[0]) + self.a(xs[1])), "none": None, "number": 3}


def test_inputs_and_outputs_may_be_nested() -> None:
    model = Bag()
    shrunk = shrink(model, ([X, X],))
    assert shrunk.report.after.widths == {"a": 7, "b": 2}
    assert shrunk.model([X, X])["number"] == 3


class Sum(nn.Module):
    """An operator that no rule speaks for, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).cumsum(2))


def test_an_operator_without_a_rule_keeps_its_channels_and_is_named() -> None:
    model = Sum()
    kill(model.a, 0, 1)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after == shrunk.report.before
    assert shrunk.report.unruled == {"aten.cumsum.default": 1}
    assert "no rule for aten.cumsum.default (1x): its channels stay" in shrunk.report.text()


class Weighed(nn.Module):
    """A factor that an operator without a rule meets before the convolution's channels do."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(1, 8, 1, 1))
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = self.factor.cumsum(1)
        return self.b(self.a(x) * self.factor), total


def test_a_parameter_keeps_its_size_where_any_use_must_keep_it() -> None:
    model = Weighed()
    ignore(model.b, 0, 1)
    assert shrunk_is_equal(model, X).report.after.widths == {"a": 8, "b": 2}


class OverChannels(nn.Module):
    """A reduction over channels that are all constant."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(getattr(self.a(x), self.name)(1, keepdim=True))


@pytest.mark.parametrize(("name", "left"), [("mean", 4), ("sum", 2), ("amax", 4), ("amin", 4)])
def test_a_reduction_over_channels_keeps_those_it_counts(name: str, left: int) -> None:
    model = OverChannels(name)
    kill(model.a, 0, 1, 2, 3)
    with torch.no_grad():
        model.a.bias[:2] = torch.tensor([1.0, -2.0])
    assert shrunk_is_equal(model, X).report.after.widths["a"] == left


def test_masks_of_torch_prune_count_as_zeros() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    prune.ln_structured(model[0], "weight", 0.5, n=2, dim=0)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths == {"0": 4, "2": 4}
    assert shrunk.model[0].weight_orig.shape == (4, 3, 3, 3)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_linear_layers_without_features_shrink() -> None:
    model = nn.Sequential(nn.Linear(6, 0), nn.ReLU(), nn.Linear(0, 4))
    assert shrunk_is_equal(model, torch.randn(2, 6)).report.after.parameters == 4


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_convolution_without_channels_cannot_run_and_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 0, 1), nn.Conv2d(0, 4, 1))
    with pytest.raises(Untraceable, match="got RuntimeError in module 0 at unknown line: Given groups=1"):
        shrink(model, X)


def test_channel_groups_name_the_rows_that_make_each_channel() -> None:
    model = Block()
    groups = channel_groups(model, X)
    assert [g.name for g in groups] == ["stem"]
    assert groups[0].channels == 6
    assert {n: r.tolist() for n, r in groups[0].rows.items()} == {
        n: [[i] for i in range(6)] for n in ("stem.weight", "stem.bias", "body.weight", "body.bias")
    }


class Functional(nn.Module):
    """A matrix product with a parameter of the user's own, which has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.w, self.c = nn.Linear(8, 3), nn.Parameter(torch.eye(3)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x) @ self.w)


def test_a_constant_that_goes_asks_for_none_of_those_it_is_made_of() -> None:
    model = Functional()
    kill(model.a, 0, 1, bias=1)
    ignore(model.c, 0)  # what 0 becomes is constant and unread; what 1 becomes is a constant somebody reads
    shrunk = shrunk_is_equal(model, torch.randn(2, 8))
    assert shrunk.report.after.widths == {"a": 1, "w": 1, "c": 2}
    assert [n for n, _ in shrunk.model.named_parameters()] == [
        "w",
        "a.weight",
        "a.bias",
        "c.weight",
        "c.bias",
    ]


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.GroupNorm(1, 4)])
def test_a_group_norm_whose_scales_are_zero_reads_nothing(norm: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        norm.weight[:] = 0
        norm.bias.normal_()
    assert shrunk_is_equal(model, X).report.after.widths == {"0": 1, "2": 2}


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_a_layer_norm_whose_scales_are_zero_reads_nothing(norm: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(6, 4), norm(4), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight[:] = 0
    assert shrunk_is_equal(model, torch.randn(2, 6)).report.after.widths == {"0": 1, "2": 2}


def test_axes_may_be_moved_by_any_of_torchs_names() -> None:
    for move in (
        lambda x: x.movedim(1, -1),
        lambda x: x.moveaxis((2, 3), (1, 2)),
        lambda x: x.swapaxes(1, 3),
        lambda x: x.swapdims(-1, 1),
    ):
        model = Moved(move)
        kill(model.a, 2, 3)
        assert shrunk_is_equal(model, X).report.after.widths == {"a": 6, "b": 2}


class Moved(nn.Module):
    """A linear layer over channels that were moved last."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.move = move
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.move(self.a(x)))


class Between(nn.Module):
    """A function between two convolutions."""

    def __init__(self, function: Callable[[Tensor], Tensor], wide: int = 8) -> None:
        super().__init__()
        self.function = function
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(wide, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x)))


OVER_SPACE: dict[str, Callable[[Tensor], Tensor]] = {
    "std": lambda x: x.std((2, 3), keepdim=True),
    "var": lambda x: x.var((2, 3), keepdim=True, correction=0),
    "norm": lambda x: x.norm(dim=(2, 3), keepdim=True),
    "max": lambda x: x.max(2, keepdim=True)[0],
    "min": lambda x: x.min(3, keepdim=True).values,
    "max_of_two": lambda x: torch.max(x, x.relu()),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 2),
    "adaptive_max_1d": lambda x: F.adaptive_max_pool1d(x.flatten(2), 4).unsqueeze(-1),
    "adaptive_max_3d": lambda x: F.adaptive_max_pool3d(x.unsqueeze(-1), (2, 2, 1)).squeeze(-1),
}


@pytest.mark.parametrize("name", OVER_SPACE)
def test_what_each_channel_does_by_itself_over_space_loses_channels(name: str) -> None:
    model = Between(OVER_SPACE[name])
    kill(model.a, 0, 1)
    ignore(model.b, 2)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.unruled == {}
    assert shrunk.report.after.widths["a"] == (7 if name in ("std", "var", "norm") else 5)


def test_positions_of_a_maximum_keep_their_channels() -> None:
    model = Between(lambda x: x.max(2, keepdim=True)[1].to(x.dtype))
    kill(model.a, 0, 1)
    assert shrunk_is_equal(model, X).report.unruled == {"aten.max.dim": 1}


def test_a_slice_that_takes_nothing_is_harmless() -> None:
    model = Between(
        lambda x: torch.cat(
            [x, x[:, 8:].relu() + 1, x[:, 8:].mean((2, 3), keepdim=True).expand(-1, -1, 6, 6)], 1
        )
    )
    kill(model.a, 0, 1)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.parameters <= shrunk.report.before.parameters


class Deaf(nn.Conv2d):
    """A layer of the user's own that has a place for a bias and never adds one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


def test_a_layer_of_the_users_own_that_ignores_a_bias_gets_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Deaf(8, 2, 1, bias=False))
    kill(model[0], 0, 1, bias=1)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model[1].bias is None
    assert shrunk.report.after.widths["0"] == 7


class Shows(nn.Module):
    """Returns a bias beside what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.b(self.a(x)), self.b.bias


def test_a_bias_that_is_an_output_takes_no_constants() -> None:
    model = Shows()
    kill(model.a, 0, 1, bias=1)
    shrunk = shrunk_is_equal(model, X)
    assert torch.equal(shrunk.model.b.bias, model.b.bias)


def test_complex_outputs_are_compared_as_numbers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    kill(model[0], 0, 1, bias=1)
    assert shrink(Then(model, torch.fft.fft), X).report.after.widths["inner.0"] == 6


def test_a_forward_that_draws_random_numbers_is_compared_on_the_same_ones() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    kill(model[0], 0, 1, bias=1)
    state = torch.get_rng_state()
    assert shrink(Then(model, lambda y: y + torch.randn_like(y)), X).report.after.widths["inner.0"] == 6
    assert torch.equal(torch.get_rng_state(), state)


class Then(nn.Module):
    """A network, then a function of its output."""

    def __init__(self, inner: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner(x))


class Counting(nn.Module):
    """Counts its calls, once in place and once anew."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.register_buffer("in_place", torch.zeros(1))
        self.register_buffer("anew", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.in_place.add_(1)
        self.anew = self.anew + 1
        return self.b(self.a(x))


def test_a_counter_in_the_users_forward_stays_where_it_was() -> None:
    model = Counting()
    kill(model.a, 0, 1, bias=1)
    buffers = dict(model.named_buffers())
    shrunk = shrink(model, X)
    assert shrunk.report.after.widths["a"] == 6
    assert all(model.get_buffer(n) is b and b.item() == 0 for n, b in buffers.items())


def test_a_model_without_numbers_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1)).to("meta")
    with pytest.raises(
        BadWeights, match=r"tensors of the model must hold numbers, got one of shape \(8, 3, 1, 1\) on meta"
    ):
        shrink(model, X.to("meta"))


class Leftover(nn.Module):
    """Splits a tensor into pieces that nobody uses."""

    def __init__(self, split: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.split = split
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        _left, _right = self.split(self.a(x))
        return self.b(x)


@pytest.mark.parametrize(
    "split", [lambda x: x.split(4, 1), lambda x: x.chunk(2, 1), lambda x: x.split([3, 5], 1)]
)
def test_pieces_that_nobody_uses_are_still_as_many(split: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    assert shrunk_is_equal(Leftover(split), X).report.after.widths == {"a": 8, "b": 2}


# Groups and widths that no tensor tells of.


@pytest.mark.parametrize("norm", [nn.GroupNorm(4, 8), nn.GroupNorm(4, 8, affine=False), nn.InstanceNorm2d(8)])
def test_a_norm_without_numbers_of_its_own_knows_its_width(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Conv2d(8, 4, 1))
    kill(model[0], 2, 3)
    ignore(model[3], 2, 3)
    small = shrunk_is_equal(model, X).model[1]
    assert getattr(small, "num_channels", getattr(small, "num_features", None)) == 6
    assert getattr(small, "num_groups", 3) == 3
    small(torch.ones(1, 6, 4, 4))  # a warning of torch's about another width would be an error here


def test_a_bare_norm_that_runs_twice_keeps_what_only_one_run_could_lose() -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 8, affine=False)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.Conv2d(8, 8, 1), norm, nn.Conv2d(8, 4, 1))
    kill(model[0], 2, 3)
    ignore(model[2], 2, 3)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model[0].out_channels == 8
    assert shrunk.report.pinned


class Grouped(nn.Module):
    """Groups in the user's own code: a literal, or an attribute."""

    def __init__(self, what: Callable[["Grouped", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.weight = nn.Parameter(torch.randn(8, 2, 3, 3))
        self.groups = self.num_groups = 4
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.what(self, self.first(x))))


GROUPED: dict[str, tuple[Callable[[Grouped, Tensor], Tensor], int]] = {
    "conv": (lambda m, x: F.conv2d(x, m.weight, groups=4), 8),
    "conv_by_attribute": (lambda m, x: F.conv2d(x, m.weight, groups=m.groups), 6),
    "norm": (lambda m, x: F.group_norm(x, 4), 8),
    "norm_by_attribute": (lambda m, x: F.group_norm(x, m.num_groups), 6),
}


@pytest.mark.parametrize("name", GROUPED)
def test_a_group_in_the_users_code_goes_where_its_number_can_follow(name: str) -> None:
    what, left = GROUPED[name]
    model = Grouped(what)
    kill(model.first, 2, 3)
    ignore(model.last, 2, 3)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model.first.out_channels == left
    assert bool(shrunk.report.pinned) == (left == 8)


def test_nothing_holds_the_weights_once_the_model_is_gone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    kill(model[0], 1)
    weights = [weakref.ref(p) for p in model.parameters()]
    gc.disable()  # without a search for cycles
    try:
        small = shrink(model, X).model
        del model
        assert [w() for w in weights if w() is not None] == []
    finally:
        gc.enable()
    assert small[0].out_channels == 7


def test_a_collector_that_was_off_stays_off() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)).eval()
    gc.disable()
    try:
        shrink(model, X)
        assert not gc.isenabled()
    finally:
        gc.enable()
    shrink(model, X)
    assert gc.isenabled()
