# SPDX-License-Identifier: Apache-2.0
"""Constant inputs of recurrent layers: into the bias of the gates, or they stay."""

import pytest
import torch
from torch import Tensor, nn

from edgeshift.graph import shrink
from tests.graph.properties import parameters

X = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Spoken(nn.Module):
    """A layer of five features, two of them constant, before a recurrent one of four units."""

    def __init__(self, cell: str, *, bias: bool = True, both: bool = False) -> None:
        super().__init__()
        self.front = nn.Linear(3, 5)
        self.cell = CELLS[cell](5, 4, batch_first=True, bias=bias, bidirectional=both)
        self.out = nn.Linear(8 if both else 4, 2)
        with torch.no_grad():
            self.front.weight[[1, 3]] = 0
            self.front.bias[[1, 3]] = torch.tensor([0.7, -1.3])

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(self.front(x))[0])


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_constant_inputs_go_into_the_bias_of_the_gates(cell: str, both: bool) -> None:
    model = Spoken(cell, both=both).eval()
    shrunk = shrink(model, X)
    assert shrunk.model.front.weight.shape == (3, 3)
    assert shrunk.model.cell.input_size == 3
    gates = {"gru": 3, "lstm": 4, "rnn": 1}[cell]
    assert parameters(model) - parameters(shrunk.model) == 2 * 4 + 2 * gates * 4 * (2 if both else 1)


def test_constant_inputs_stay_where_there_is_no_bias() -> None:
    model = Spoken("gru", bias=False).eval()
    assert parameters(shrink(model, X).model) == parameters(model)
