# SPDX-License-Identifier: Apache-2.0
"""One recorded run of a forward tells the same as torch.export, or says why it cannot."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.networks import make_planted, names
from edgeshift.core.errors import Untraceable
from edgeshift.graph.channels import ChannelGraph
from edgeshift.graph.fronts.record import Refused, record
from edgeshift.graph.fronts.torch_export import export, trace

ELSEWHERE = torch.ones(4)  # no attribute of a module
X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
SMALL = [n for n in names() if n.startswith("micro.")]


class Runs(nn.Module):
    """A linear layer, then whatever a test wants."""

    def __init__(self, then: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(self.inner(x))


def told(graph: ChannelGraph) -> list[tuple[Any, ...]]:
    """Everything a graph says but the lines, of which the two tracers keep different ones."""
    return [
        (
            *(node.kind, node.source, node.module, sorted(node.attributes.items(), key=str)),
            [i if i is None else graph.values[i].param or graph.shape(i) for i in node.inputs],
            [graph.shape(i) for i in node.outputs],
        )
        for node in graph.nodes
    ]


@pytest.mark.parametrize("name", SMALL)
def test_a_recorded_run_and_torch_export_give_the_same_graph(name: str) -> None:
    model, inputs, _ = make_planted(name, 0.5, 0)
    mine, theirs = trace(model, inputs), export(model, inputs)
    assert mine.tracer == "one recorded run"
    assert told(mine) == told(theirs)
    assert [mine.values[i].shape for i in mine.outputs] == [theirs.values[i].shape for i in theirs.outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in names() if n not in SMALL])
def test_a_recorded_run_and_torch_export_agree_on_whole_networks(name: str) -> None:
    model, inputs, _ = make_planted(name, 0.5, 0)
    assert told(trace(model, inputs)) == told(export(model, inputs))


class Fork(Runs):
    """Takes a branch that the numbers choose."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y if y.sum() > 0 else -y


def write_into_a_view(y: Tensor) -> Tensor:
    half = y[:, :2]
    half.relu_()
    return y


def swallow(y: Tensor) -> Tensor:
    try:
        return y * float(y.max())
    except Exception:
        return y


REFUSALS: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda y: y * y.sum().item(), "takes a number out of a tensor"),
    (lambda y: y * y.sum().tolist(), "tolist on a tensor"),
    (lambda y: y * float(y.detach().numpy().sum()), "numpy on a tensor"),
    (lambda y: y[y > 0], "by a mask"),
    (lambda y: y.nonzero(), "makes sizes of numbers"),
    (lambda y: y.data + 1, "__get__ on a tensor"),
    (write_into_a_view, "another one looks into"),
    (swallow, "takes a number out of a tensor"),
    (lambda y: y + ELSEWHERE, "no recorded operator made"),
]


@pytest.mark.parametrize(("then", "why"), REFUSALS)
def test_what_one_run_cannot_tell_is_refused_with_the_reason(then: Callable[[Tensor], Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        record(Runs(then).eval(), (X,))


def test_a_branch_on_numbers_is_never_taken_for_the_network() -> None:
    with pytest.raises(Untraceable, match="traceable"):
        trace(Fork(lambda y: y), (X,))


def test_a_refused_network_is_exported_and_the_graph_says_why() -> None:
    graph = trace(Runs(write_into_a_view).eval(), (X,))
    assert graph.tracer.startswith("torch.export, since a recorded run met aten::relu_ writes into")


def test_writing_into_a_tensor_nobody_else_looks_into_is_a_new_value() -> None:
    graph = trace(Runs(lambda y: y.relu_() + 1).eval(), (X,))
    assert [n.attributes.get("fn") for n in graph.nodes] == [None, "relu", "add"]


class Keeps(Runs):
    """Keeps what it saw and counts."""

    def __init__(self) -> None:
        super().__init__(lambda y: y)
        self.register_buffer("seen", torch.zeros(()))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.inner(x)
        return self.last


def test_a_run_leaves_no_trace_in_the_model() -> None:
    model = Keeps()
    x, state = X.clone(), torch.get_rng_state()
    trace(model, (x,))
    assert model.last is None
    assert model.training
    assert torch.equal(x, X)
    assert torch.equal(state, torch.get_rng_state())


def test_an_input_that_a_forward_overwrites_stays_as_it_was() -> None:
    x = X.clone()
    trace(Runs(lambda y: y), (x,))
    with pytest.raises(Refused, match="writes into what it was given"):
        record(nn.ReLU(inplace=True).eval(), (x,))
    assert torch.equal(x, X)


def test_a_literal_tensor_of_the_user_is_known_by_its_numbers() -> None:
    graph = trace(Runs(lambda y: y * torch.tensor([1.0, 0.0, 2.0, 0.0])).eval(), (X,))
    numbers = [v.data for v in graph.values if v.data is not None and v.name.startswith("literal_")]
    assert [n.tolist() for n in numbers] == [[1.0, 0.0, 2.0, 0.0]]


def test_a_scripted_module_is_left_to_torch_export() -> None:
    with pytest.raises(Refused, match="scripted"):
        record(torch.jit.script(nn.Linear(4, 4)), (X,))
