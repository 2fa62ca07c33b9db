# SPDX-License-Identifier: Apache-2.0
"""Attention, recurrence, look-ups, and sizes that the user's forward spells out."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeshift.core.errors import BadWeights
from edgeshift.core.stand_ins import OpenAttention, stand_in_
from edgeshift.formats import load, save
from edgeshift.graph import shrink
from tests.graph.properties import parameters

X = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))


def zero_(tensor: Tensor, *rows: int) -> None:
    """Zero some rows."""
    with torch.no_grad():
        tensor[list(rows)] = 0


def zero_columns_(tensor: Tensor, *columns: int) -> None:
    """Zero some columns."""
    with torch.no_grad():
        tensor[:, list(columns)] = 0


class FusedAttention(nn.Module):
    """Attention as users write it: one projection, a view with the number of heads and their width."""

    def __init__(self, width: int = 12, heads: int = 3, *, own_scale: bool = False) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.own_scale = own_scale

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            self.qkv(x).view(batch, length, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4).unbind(0)
        )
        if self.own_scale:
            y = ((q * 0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("own_scale", [False, True])
def test_an_unread_head_goes_and_the_attribute_that_counts_heads_follows(own_scale: bool) -> None:
    model = FusedAttention(own_scale=own_scale)
    zero_columns_(model.out.weight, 4, 5, 6, 7)  # nobody reads head 1
    shrunk = shrink(model, X)
    assert shrunk.model.heads == 2
    assert shrunk.model.qkv.weight.shape == (24, 12)
    assert shrunk.model.out.weight.shape == (12, 8)
    assert shrunk.plan.attributes[""] == {"heads": 2}
    assert model.heads == 3


def test_dead_query_key_pairs_go_from_different_places_in_every_head() -> None:
    model = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        model.in_proj_bias.normal_()
    for row in (0, 5, 10):  # one query channel of each head, each at another place
        zero_(model.in_proj_weight, row)
        zero_(model.in_proj_bias, row)

    shrunk = shrink(Wrapped(model), X)
    inner = shrunk.model.attention
    assert isinstance(inner, OpenAttention)
    assert (inner.num_heads, inner.qk_width, inner.v_width) == (3, 3, 4)
    assert inner.q_weight.shape == inner.k_weight.shape == (9, 12)
    assert shrunk.plan.stand_ins == ("attention",)


class Wrapped(nn.Module):
    """One attention over itself."""

    def __init__(self, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.attention = attention or nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def test_narrower_heads_keep_the_scale_of_scaled_dot_product_attention() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width = 4
            self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (f(x).unflatten(-1, (3, self.width)).transpose(1, 2) for f in (self.q, self.k, self.v))
            return functional.scaled_dot_product_attention(q, k, v.reshape(v.shape)).transpose(1, 2)

    model = Net()
    for layer in (model.q, model.k):
        for row in (1, 6, 11):
            zero_(layer.weight, row)
            zero_(layer.bias, row)
    # The values keep width 4, so the attribute cannot serve both: nothing may break, whatever stays.
    shrunk = shrink(model, X)
    assert shrunk.proof.max_error_float64 <= 1e-9


def test_attention_in_which_nothing_goes_stays_torchs_own() -> None:
    shrunk = shrink(Wrapped(), X)
    assert type(shrunk.model.attention) is nn.MultiheadAttention
    assert shrunk.plan.stand_ins == ()


def test_a_transformer_layer_shrinks_and_loads_again(tmp_path: Path) -> None:
    model = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True).eval()
    zero_(model.linear1.weight, 0, 3, 9)
    zero_(model.linear1.bias, 0, 3, 9)
    zero_columns_(model.self_attn.out_proj.weight, 8, 9, 10, 11)  # head 2
    shrunk = shrink(model, X)
    assert shrunk.model.self_attn.num_heads == 2
    assert shrunk.model.linear1.out_features == 17
    save(shrunk.model, tmp_path / "small.safetensors", shrunk.plan)
    again = load(
        tmp_path / "small.safetensors", lambda: nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
    )
    with torch.no_grad():
        assert torch.equal(again(X), shrunk.model.eval()(X))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_stand_in_equals_torchs_attention(need_weights: bool, batch_first: bool) -> None:
    original = nn.MultiheadAttention(12, 3, batch_first=batch_first).double().eval()
    with torch.no_grad():
        original.in_proj_bias.normal_()
    x = X.double() if batch_first else X.double().transpose(0, 1)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[0, 5:] = True
    mask = torch.triu(torch.ones(7, 7, dtype=torch.bool), 1)
    wanted = original(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=need_weights)
    got = OpenAttention(original)(
        x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=need_weights
    )
    torch.testing.assert_close(got[0], wanted[0])
    assert (got[1] is None) == (wanted[1] is None)
    if need_weights:
        torch.testing.assert_close(got[1], wanted[1])


def test_nothing_can_stand_in_for_a_linear_layer() -> None:
    with pytest.raises(BadWeights, match=r"module 0 must be attention or a convolution .*, got Linear"):
        stand_in_(nn.Sequential(nn.Linear(2, 2)), "0")


@pytest.mark.parametrize(("kind", "gates"), [(nn.GRU, 3), (nn.LSTM, 4), (nn.RNN, 1)])
def test_a_unit_whose_candidate_is_zero_goes_and_so_does_one_nobody_hears(
    kind: type[nn.Module], gates: int
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = kind(12, 6, batch_first=True)
            self.out = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cell(x)[0])

    model = Net()
    candidate = {3: 2, 4: 2, 1: 0}[gates]
    for tensor in (
        model.cell.weight_ih_l0,
        model.cell.weight_hh_l0,
        model.cell.bias_ih_l0,
        model.cell.bias_hh_l0,
    ):
        zero_(tensor, candidate * 6 + 1)  # unit 1 never leaves zero
    zero_columns_(model.out.weight, 4)  # unit 4: not read by the head ...
    zero_columns_(model.cell.weight_hh_l0, 4)  # ... nor by any unit
    shrunk = shrink(model, X)
    assert shrunk.model.cell.hidden_size == 4
    assert shrunk.model.cell.weight_hh_l0.shape == (gates * 4, 4)
    assert shrunk.model.out.weight.shape == (4, 4)


def test_layers_of_one_recurrent_module_keep_equally_many_units() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(12, 6, num_layers=2, batch_first=True, bidirectional=True)
            self.out = nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cell(x)[0])

    model = Net()
    for name, tensor in model.cell.named_parameters():
        zero_(tensor, 12 + (1 if "l0" in name else 3))  # one unit per layer, not the same
    assert shrink(model, X).model.cell.hidden_size == 5
    for name, tensor in model.cell.named_parameters():
        if "l0" in name:
            zero_(
                tensor, 12 + 2
            )  # a second one in the first layer only: the second layer must not lose a live one
    assert shrink(model, X).model.cell.hidden_size == 5


def test_a_column_of_zeros_goes_from_an_embedding() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 6)
            self.out = nn.Linear(6, 3)

        def forward(self, index: Tensor) -> Tensor:
            return self.out(self.table(index))

    model = Net()
    zero_columns_(model.table.weight, 2)
    with torch.no_grad():
        model.table.weight[:, 5] = 0.5  # the same for every word: goes into the bias
    shrunk = shrink(model, torch.arange(10).reshape(2, 5))
    assert shrunk.model.table.embedding_dim == 4
    assert parameters(shrunk.model) == 10 * 4 + 3 * 4 + 3


def test_pixel_shuffle_loses_whole_blocks_only() -> None:
    model = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(3, 2, 1))
    zero_(model[0].weight, 0, 1, 2, 3, 4)  # block 0, and one of block 1
    zero_(model[0].bias, 0, 1, 2, 3, 4)
    shrunk = shrink(model, torch.randn(2, 3, 4, 4))
    assert shrunk.model[0].out_channels == 8


class Flattened(nn.Module):
    """Spells out the number of features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.out = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv(x))
        return self.out(x.view(-1, 128))


def test_a_literal_size_keeps_its_channels_and_is_named_with_file_and_line() -> None:
    model = Flattened()
    zero_(model.conv.weight, 1, 2)
    zero_(model.conv.bias, 1, 2)
    shrunk = shrink(model, torch.randn(2, 3, 6, 6))
    assert shrunk.model.conv.out_channels == 8
    line = next(
        i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "x.view(-1, 128)" in text
    )
    assert shrunk.report.pinned == (f"{Path(__file__).name}:{line}",)
    assert f"{Path(__file__).name}:{line} spells out a size" in shrunk.report.text()


def test_an_attribute_that_the_forward_did_not_read_is_left_alone() -> None:
    model = FusedAttention()
    model.layers = 3  # as many as heads, and something else
    zero_columns_(model.out.weight, 0, 1, 2, 3)
    shrunk = shrink(model, X)
    assert (shrunk.model.heads, shrunk.model.layers) == (2, 3)
