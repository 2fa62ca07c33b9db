# SPDX-License-Identifier: Apache-2.0
"""Operators that pick, repeat and lay out entries, einsum, and padding apart from its convolution; counts by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeshift.core.shape_plan import ShapePlan, resize_
from edgeshift.graph import shrink
from edgeshift.graph.exact import shrink_traced
from edgeshift.graph.fronts.torch_export import export
from tests.graph.test_exact import ignore, kill, shrunk_is_equal

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """Something between two convolutions; `order` is there for whoever wants positions from a buffer."""

    def __init__(self, width: int, what: Callable[["Between", Tensor], Tensor], read: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Conv2d(read, 2, 1)
        self.register_buffer("order", torch.tensor([4, 2, 0, 2]))
        self.register_buffer("lost", torch.tensor([4, 2, 0, 2]), persistent=False)
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.what(self, self.first(x)))


PICKS: dict[str, Callable[[Between, Tensor], Tensor]] = {
    "index_select": lambda m, x: x.index_select(1, m.order),
    "index": lambda m, x: x[:, m.order],
}


@pytest.mark.parametrize("name", PICKS)
def test_positions_in_a_buffer_follow_the_cut(name: str) -> None:
    shrunk = shrunk_is_equal(Between(6, PICKS[name], 4), X)  # channels 1, 3 and 5 are not picked
    assert shrunk.report.after.widths == {"first": 3, "last": 2}
    assert shrunk.model.order.tolist() == [2, 1, 0, 1]
    model = Between(6, PICKS[name], 4)
    kill(model.first, 2)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model.first.out_channels == 2
    assert shrunk.model.last.in_channels == 2
    assert shrunk.model.order.tolist() == [1, 0]
    plan = ShapePlan.from_json(shrunk.plan.to_json())
    again = resize_(Between(6, PICKS[name], 4), plan, shrunk.model.state_dict()).eval()
    with torch.no_grad():
        assert torch.equal(again(X), shrunk.model.eval()(X))


STUCK: dict[str, Callable[[Between, Tensor], Tensor]] = {
    "literal": lambda m, x: x[:, torch.tensor([4, 2, 0, 2])],
    "buffer_that_no_file_holds": lambda m, x: x[:, m.lost],
    "buffer_of_two": lambda m, x: x[:, m.order] + x[:, m.order],
    "made_in_the_run": lambda m, x: x.index_select(1, (x[0, :4, 0, 0] > 0).long()),
}


@pytest.mark.parametrize("name", STUCK)
def test_positions_that_cannot_follow_keep_their_channels(name: str) -> None:
    model = Between(6, STUCK[name], 4)
    kill(model.first, 1)
    assert shrunk_is_equal(model, X).report.after.widths == {"first": 6, "last": 2}


def test_positions_over_space_leave_channels_free() -> None:
    for what in (
        lambda m, x: x[:, :, :, m.order],
        lambda m, x: x.index_select(2, (x.sum((0, 1, 3))[:4] > 0).long()),
    ):
        model = Between(6, what, 6)
        kill(model.first, 1, 4)
        assert shrunk_is_equal(model, X).report.after.widths == {"first": 4, "last": 2}


def shuffle(x: Tensor) -> Tensor:
    """Two groups interleaved, as ShuffleNet does."""
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize(
    ("dead", "left"), [((0, 4), 6), ((0, 1, 4, 5), 4), ((0, 1, 4), 6), ((0, 5), 8), ((0,), 8)]
)
def test_a_shuffle_loses_the_same_positions_of_both_groups(dead: tuple[int, ...], left: int) -> None:
    model = Between(8, lambda m, x: shuffle(x), 8)
    kill(model.first, *dead)
    assert shrunk_is_equal(model, X).model.first.out_channels == left
    # Without channels 0 and 5 the same forward would pair others: what it does follows from their number alone.
    kept = [c for c in range(8) if c not in (0, 5)]
    after = shuffle(torch.tensor(kept).view(1, 6, 1, 1)).flatten().tolist()
    before = [c for c in shuffle(torch.arange(8).view(1, 8, 1, 1)).flatten().tolist() if c in kept]
    assert after != before


@pytest.mark.parametrize("name", ["repeat", "tile", "interleave"])
def test_a_repeated_channel_goes_with_all_its_copies(name: str) -> None:
    what, copies = {
        "repeat": (lambda m, x: x.repeat(1, 2, 1, 1), lambda c: (c, c + 4)),
        "tile": (lambda m, x: x.tile(2, 1, 1), lambda c: (c, c + 4)),
        "interleave": (lambda m, x: x.repeat_interleave(2, 1), lambda c: (2 * c, 2 * c + 1)),
    }[name]
    model = Between(4, what, 8)
    kill(model.first, 1)
    ignore(model.last, *copies(2), copies(3)[0])  # of channel 3 one copy is read
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.model.first.out_channels == 2
    assert shrunk.model.last.weight.shape == (2, 4, 1, 1)


def test_rows_repeated_for_every_sample_leave_channels_free() -> None:
    model = Between(4, lambda m, x: x[:1].repeat(2, 1, 1, 1), 4)
    kill(model.first, 1)
    assert shrunk_is_equal(model, X).model.first.out_channels == 3


class Einsum(nn.Module):
    """A weighted sum over channels, spelled with letters."""

    def __init__(self, equation: str, *shape: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.equation = equation
        self.first = nn.Conv2d(3, 5, 1)
        self.weight = nn.Parameter(torch.randn(*shape))
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.einsum(self.equation, self.first(x), self.weight).relu())


@pytest.mark.parametrize(("equation", "axis"), [("nchw,oc->nohw", 0), ("nchw, co -> nohw", 1)])
def test_einsum_with_a_weight_is_a_linear_layer(equation: str, axis: int) -> None:
    model = Einsum(equation, *((4, 5) if axis == 0 else (5, 4)))
    with torch.no_grad():
        model.weight.select(axis, 1).zero_()  # nothing is written to channel 1
        model.weight.select(1 - axis, 3).zero_()  # and channel 3 is not read
    shrunk = shrunk_is_equal(model, X)
    assert tuple(shrunk.model.weight.shape) == ((3, 4) if axis == 0 else (4, 3))
    assert shrunk.model.first.out_channels == 4
    assert shrunk.model.last.in_channels == 3


@pytest.mark.parametrize("poison", [0.0, float("nan")])
def test_a_sum_that_nobody_reads_needs_no_bias_for_the_constants_that_go(poison: float) -> None:
    class Ignored(Einsum):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(x[:, :1].expand(-1, 4, -1, -1)) + 0 * super().forward(x).amax()

    class Unread(Einsum):
        def forward(self, x: Tensor) -> Tensor:
            torch.einsum(self.equation, self.first(x), self.weight)
            return self.last(x[:, :1].expand(-1, 4, -1, -1))

    for kind in (Unread,) if poison else (Ignored, Unread):  # zero times NaN is NaN
        model = kind("nchw,oc->nohw", 4, 5)
        kill(model.first, 1, bias=0.5)
        with torch.no_grad():
            model.weight[0, 0] += poison
        shrunk = shrink(model.eval(), X)
        with torch.no_grad():
            torch.testing.assert_close(shrunk.model.eval()(X), model(X))


class Heads(nn.Module):
    """Attention of two heads of width 4, with matrix products or with letters."""

    def __init__(self, *, letters: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.letters = letters
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (2, -1)) for f in (self.q, self.k, self.v))
        if self.letters:
            shares = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
            return self.out(torch.einsum("bhqk,bkhd->bqhd", shares, v).flatten(2))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        shares = (q @ k.transpose(-1, -2)).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).flatten(2))


def test_einsum_between_activations_is_a_matrix_product() -> None:
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    widths = []
    for letters in (False, True):
        model = Heads(letters=letters)
        kill(model.q, 1, 5)  # a pair of query and key in each head
        kill(model.v, 2, 6)
        widths.append(shrunk_is_equal(model, x).report.after.widths)
    assert widths[0] == widths[1] == {"q": 6, "k": 6, "v": 6, "out": 3}


OTHER_SUMS: dict[str, Callable[[Between, Tensor], Tensor]] = {
    "one_tensor": lambda m, x: torch.einsum("nchw->nwc", x).transpose(1, 2)[..., None],
    "summed_first": lambda m, x: torch.einsum("nchw,nd->ncd", x, x.mean((1, 2)))[..., None],
    "no_rows": lambda m, x: torch.einsum("nchw,nchw->nch", x, x)[..., None],
    "factor": lambda m, x: torch.einsum("nchw,hw->nch", x, x[0, 0])[..., None],
}


@pytest.mark.parametrize("name", OTHER_SUMS)
def test_any_einsum_is_exact(name: str) -> None:
    model = Between(4, OTHER_SUMS[name], 4)
    kill(model.first, 1)
    shrunk = shrunk_is_equal(model, X)
    assert shrunk.report.after.widths["first"] <= 4


def test_windows_laid_side_by_side_keep_a_channel_that_one_position_is_read_of() -> None:
    class Patches(nn.Module):
        def __init__(self, padding: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last, self.padding = nn.Conv2d(3, 4, 1), nn.Linear(36, 2), padding

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.unfold(self.first(x), 3, padding=self.padding).transpose(1, 2))

    for padding, left in ((0, 1), (1, 2)):
        model = Patches(padding)
        kill(model.first, 0)
        kill(model.first, 1, bias=0.7)  # a constant, but not where zeros stand around
        with torch.no_grad():
            model.last.weight[:, 18:27] = (
                0  # of channel 2 nothing is read, of channel 3 only the last position
            )
            model.last.weight[:, 27:35] = 0
        shrunk = shrunk_is_equal(model, X)
        assert shrunk.model.first.out_channels == left
        assert shrunk.model.last.in_features == 9 * left


def test_windows_along_time_leave_channels_free() -> None:
    model = Between(4, lambda m, x: x.unfold(3, 3, 2).amax(-1), 4)
    kill(model.first, 1)
    kill(model.first, 2, bias=0.5)
    assert shrunk_is_equal(model, X).model.first.out_channels == 2


def test_windows_over_channels_keep_them() -> None:
    model = Between(4, lambda m, x: x.unfold(1, 2, 2).amax(-1), 2)
    kill(model.first, 1)
    assert shrunk_is_equal(model, X).model.first.out_channels == 4


@pytest.mark.parametrize("bias", [True, False])
def test_one_channel_carries_constants_through_padding_that_stands_alone(bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(8, 4, 3, bias=bias)
    )
    for channel, constant in ((1, 0.5), (2, 0.7), (5, 1.1)):
        kill(model[0], channel, bias=constant)
    assert shrunk_is_equal(model, X).model[0].out_channels == 6


def test_what_else_reads_the_padding_keeps_its_constants() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            wide = F.pad(self.first(x), (1, 1, 1, 1))
            return self.last(wide), wide.amax((2, 3))

    model = Two()
    kill(model.first, 1, 2, bias=0.5)
    assert shrunk_is_equal(model, X).model.first.out_channels == 8


@pytest.mark.parametrize("what", [(1, 1, 1, -1), (0, 0, 0, 0, 0, 1)])
def test_padding_that_cuts_or_adds_channels_stays_by_itself(what: tuple[int, ...]) -> None:
    model = Between(4, lambda m, x: F.pad(x, what), 4 + sum(what[4:]))
    kill(model.first, 1, bias=0.5)
    shrunk_is_equal(model, X)


@pytest.mark.parametrize("name", [*PICKS, "literal", "made_in_the_run", *OTHER_SUMS])
def test_both_tracers_say_the_same(name: str) -> None:
    what = {**PICKS, **STUCK, **OTHER_SUMS}[name]
    model = Between(6, what, 6 if name in OTHER_SUMS else 4).eval()
    kill(model.first, 1)
    kill(model.first, 2)
    other = shrink_traced(model, export(model, (X,)), (X,))
    assert other.report.after == shrink(model, X).report.after
