# SPDX-License-Identifier: Apache-2.0
"""What shrinking does on request: merge twins, leave out zero filters of living channels."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeshift.core.errors import BadValue
from edgeshift.core.stand_ins import NarrowConv
from edgeshift.formats import load, save
from edgeshift.graph import channel_groups, shrink
from edgeshift.graph import narrow as narrow_module
from edgeshift.graph.narrow import narrowed, zero_rows
from tests.graph.properties import parameters

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def twins_net() -> nn.Sequential:
    """Channels 0 and 3 of the first layer are equal, norm included; channel 5 differs by its norm's shift only."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    with torch.no_grad():
        net[1].bias.normal_()
        for other in (3, 5):
            net[0].weight[other] = net[0].weight[0]
        net[1].bias[3] = net[1].bias[0]
    return net.eval()


def test_twins_stay_unless_asked_for() -> None:
    assert parameters(shrink(twins_net(), X).model) == parameters(twins_net())


def test_equal_producers_are_merged_and_near_equal_ones_are_not() -> None:
    shrunk = shrink(twins_net(), X, merge_twins=True)
    assert shrunk.model[0].out_channels == 5
    assert shrunk.proof.max_error_float64 <= 1e-9


def test_twins_that_differ_only_in_how_they_read_twins_are_twins() -> None:
    net = twins_net()
    with (
        torch.no_grad()
    ):  # sums of these are exact: row 1 reads channel 3 where row 0 reads channel 0: the same number
        net[3].weight.copy_((net[3].weight * 64).round() / 64)
        net[3].weight[1] = net[3].weight[0]
        net[3].weight[1, 3] += net[3].weight[1, 0]
        net[3].weight[1, 0] = 0
        net[3].bias[1] = net[3].bias[0]
    shrunk = shrink(net, X, merge_twins=True)
    assert (shrunk.model[0].out_channels, shrunk.model[3].out_channels) == (5, 3)


class Residual(nn.Module):
    """A branch that adds zeros to some channels of a living stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.branch = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.norm(self.branch(x))


def residual() -> Residual:
    model = Residual().eval()
    with torch.no_grad():
        model.branch.weight[:12] = 0
        model.norm.bias.normal_()
    return model


def test_a_branch_loses_its_zero_filters_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = residual()
    assert shrink(model, X).model.branch.weight.shape[0] == 16
    monkeypatch.setattr(narrow_module, "is_faster", lambda *_: True)
    shrunk = shrink(model, X, narrow_branches=True)
    assert isinstance(shrunk.model.branch, NarrowConv)
    assert shrunk.model.branch.conv.weight.shape == (4, 16, 3, 3)
    assert shrunk.report.after.parameters == parameters(shrunk.model)
    with torch.no_grad():
        torch.testing.assert_close(shrunk.model(X), model(X), rtol=1e-6, atol=1e-6)


def test_a_branch_that_is_measured_slower_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_module, "is_faster", lambda *_: False)
    shrunk = shrink(residual(), X, narrow_branches=True)
    assert isinstance(shrunk.model.branch, nn.Conv2d)
    assert shrunk.plan.stand_ins == ()


def test_a_narrowed_branch_loads_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_module, "is_faster", lambda *_: True)
    shrunk = shrink(residual(), X, narrow_branches=True)
    save(shrunk.model, tmp_path / "small.safetensors", shrunk.plan)
    again = load(tmp_path / "small.safetensors", Residual)
    with torch.no_grad():
        assert torch.equal(again(X), shrunk.model.eval()(X))


def test_a_filter_with_a_bias_is_not_a_zero_filter() -> None:
    conv = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        conv.weight[:2] = 0
        conv.bias[0] = 0
        conv.bias[1:] = 1
    assert zero_rows(conv).tolist() == [True, False, False]


def test_narrowing_changes_nothing_it_is_not_asked_for() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        for layer in model:
            layer.weight[0] = 0
            layer.bias[0] = 0
    copy = narrowed(model, ["1"])
    assert isinstance(copy[0], nn.Conv2d)
    assert isinstance(copy[1], NarrowConv)
    assert isinstance(model[1], nn.Conv2d)


def test_channels_of_a_residual_stream_form_one_group() -> None:
    groups = channel_groups(Residual(), X)
    assert groups == ()  # the stream is the output: none of it may go
    with_head = nn.Sequential(Residual(), nn.Conv2d(16, 2, 1)).eval()
    (group,) = channel_groups(with_head, X)
    assert group.channels == 16
    rows = {n: r.tolist() for n, r in group.rows.items()}
    assert rows["0.stem.weight"] == rows["0.branch.weight"] == rows["0.norm.bias"] == [[i] for i in range(16)]
    # per channel: a stem filter, a branch filter and a branch column, a head column, at 36 positions
    assert group.macs == pytest.approx(36 * (3 * 9 + 16 * 9 + 16 * 9 + 2))


@pytest.mark.parametrize(("multiple", "width"), [(1, 5), (4, 8), (8, 8), (16, 5)])
def test_widths_round_up_with_dead_channels_where_there_are_enough(multiple: int, width: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 2, 3, padding=1)).eval()
    with torch.no_grad():
        model[0].weight[:7] = 0
        model[0].bias[:7] = 0
    shrunk = shrink(model, X, multiple=multiple)
    assert shrunk.model[0].out_channels == width
    assert shrunk.proof.max_error_float64 <= 1e-9


def constants_net(width: int, constant: int, zero: int = 0) -> nn.Sequential:
    """The first channels are constants that a padded reader sees, the next are zero."""
    model = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2, 3, padding=1))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
        model[0].weight[: constant + zero] = 0
        model[0].bias[:constant] = 1 + torch.arange(constant)
        model[0].bias[constant : constant + zero] = 0
    return model.eval()


@pytest.mark.parametrize(("multiple", "width"), [(1, 6), (4, 8), (8, 8)])
def test_a_channel_that_carries_constants_counts_in_the_rounding(multiple: int, width: int) -> None:
    # 5 of 12 live, and one carries the constants of the other 7
    shrunk = shrink(constants_net(12, 7), X, multiple=multiple)
    assert shrunk.model[0].out_channels == width
    assert shrunk.proof.max_error_float64 <= 1e-9


@pytest.mark.parametrize(
    ("width", "live", "multiple", "wanted"),
    [
        (255, 101, 4, 104),  # not wide
        (256, 101, 1, 101),
        (256, 101, 4, 112),
        (256, 101, 5, 120),  # the first multiple of 5 from 16 on is 20
        (256, 101, 32, 128),
        (300, 290, 4, 292),  # 304 is more than there were, so 4 as for any layer
        (300, 299, 4, 300),
        (301, 301, 4, 301),
    ],
)
def test_wide_layers_round_up_to_sixteen(width: int, live: int, multiple: int, wanted: int) -> None:
    model = constants_net(width, 0, width - live)
    assert shrink(model, X, multiple=multiple, prove_it=False).model[0].out_channels == wanted


@given(st.integers(1, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_every_width_is_a_multiple_or_all_that_there_was(multiple: int, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 24))
    constant = data.draw(st.integers(0, width))
    zero = data.draw(st.integers(0, width - constant))
    model = constants_net(width, constant, zero)
    exact = shrink(model, X, prove_it=False).model[0].out_channels
    got = shrink(model, X, multiple=multiple, prove_it=False).model[0].out_channels
    up = -(-exact // multiple) * multiple
    assert got == (up if up <= width else exact)


def test_a_multiple_of_nothing_is_refused() -> None:
    with pytest.raises(BadValue, match="multiple must be at least 1, got 0"):
        shrink(twins_net(), X, multiple=0)
