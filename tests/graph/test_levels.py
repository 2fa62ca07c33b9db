# SPDX-License-Identifier: Apache-2.0
"""One trace for many levels of a network."""

import pytest
import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadWeights
from edgeshift.graph import shrink, trace

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A residual stream with a norm, a counter that is no parameter, and a tied weight."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 1)
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = self.inner(self.inner(x))
        return self.head(x.mean((2, 3)))


def level(seed: int, dead: int) -> Net:
    torch.manual_seed(seed)
    model = Net().eval()
    with torch.no_grad():
        model.stem.weight[:dead] = 0
        model.stem.bias[:dead] = 0
        model.norm.bias[:dead] = 0
        model.inner.weight[:dead] = 0
        model.inner.bias[:dead] = 0
    return model


@pytest.mark.parametrize("dead", [0, 3, 7])
def test_a_level_shrinks_the_same_on_the_trace_of_another(dead: int) -> None:
    first, other = level(0, 1), level(1, dead)
    graph = trace(first, (X,))
    again, alone = shrink(other, X, graph=graph), shrink(other, X)
    assert again.model.stem.out_channels == alone.model.stem.out_channels == 8 - dead
    assert again.report == alone.report
    for a, b in zip(again.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.proof is not None


def test_the_graph_keeps_its_own_numbers() -> None:
    first = level(0, 1)
    graph = trace(first, (X,))
    shrink(level(1, 5), X, graph=graph)
    assert shrink(first, X, graph=graph).model.stem.out_channels == 7


def test_a_graph_of_another_structure_is_refused() -> None:
    graph = trace(level(0, 1), (X,))
    with pytest.raises(BadWeights, match=r"must have stem.weight of size \(8, 3, 3, 3\), got \(4, 3, 3, 3\)"):
        shrink(Net(4).eval(), X, graph=graph)
    with pytest.raises(BadWeights, match=r"must have stem.weight of size .*, got none"):
        shrink(nn.Sequential(nn.Conv2d(3, 2, 1)).eval(), X, graph=graph)


def test_what_the_small_model_learns_does_not_reach_the_large_one() -> None:
    model = level(0, 2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    small = shrink(model, X).model
    with torch.no_grad():
        for tensor in small.state_dict().values():
            tensor.add_(1)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_attention_is_traced_anew() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    torch.manual_seed(0)
    model, x = Attends().eval(), torch.randn(2, 5, 8)
    graph = trace(model, (x,))
    with torch.no_grad():
        model.attention.in_proj_weight[16:20] = 0  # the first head's values
        model.attention.in_proj_bias[16:20] = 0
    assert shrink(model, x, graph=graph).report == shrink(model, x).report
