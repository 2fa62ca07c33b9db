# SPDX-License-Identifier: Apache-2.0
"""The door: a sparse model in, a smaller model of the same class out, with the proof that it is the same function."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue, NotExact
from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.stand_ins import can_open
from edgeshift.core.values import Proof
from edgeshift.graph.analyse import analyse, tie_all
from edgeshift.graph.channels import ChannelGraph
from edgeshift.graph.fronts.torch_export import trace, with_numbers
from edgeshift.graph.modules import named_modules
from edgeshift.graph.narrow import faster_narrow, narrow_plan, narrowed
from edgeshift.graph.prove import Model, check_same, prove
from edgeshift.graph.report import Counts, Report
from edgeshift.graph.spelled import settle, spelled_nodes
from edgeshift.graph.surgery import copy_module, cut, fit_attention, opened
from edgeshift.graph.tally import counts_of, report_of, untouched, whole_counts
from edgeshift.graph.twins import moves


def _as_it_is(model: nn.Module) -> nn.Module:
    """No rewriting."""
    return model


@dataclass(frozen=True)
class Shrunk:
    """A model without its dead channels.

    Attributes:
        model: Of the user's own class, with smaller layers; can be trained, saved and exported.
        plan: Rebuilds the shapes on a freshly built model.
        report: What went and why.
        proof: What was tried to show that nothing changed; None where `prove_it=False` was asked.
    """

    model: nn.Module
    plan: ShapePlan
    report: Report
    proof: Proof | None


def shrink(
    model: nn.Module,
    example: Tensor | tuple[Any, ...],
    *,
    prove_it: bool = True,
    tolerance: float = 1e-9,
    merge_twins: bool = False,
    narrow_branches: bool = False,
    multiple: int = 1,
    graph: ChannelGraph | None = None,
) -> Shrunk:
    """Remove every channel that does nothing, and prove that the function is the same.

    After the idea of DNNShifter (arXiv 2309.06973), carried to a fixpoint over the whole graph and made exact.

    Args:
        model: Any model torch.export can trace; looked at in evaluation mode, never changed.
        example: A float input `(batch, ...)` or a tuple of positional arguments.
        prove_it: Compare both models in float64; switch off only where the caller does so itself.
        tolerance: On the largest difference over the largest output in float64.
        merge_twins: Also merge channels that equal producers make; their readers' weights are added up.
        narrow_branches: Also leave out filters of a residual branch that write zeros into a channel others keep
            alive, where computing the rest and adding it in place is measured faster on inputs like the example.
        multiple: Round widths up to a multiple of this with dead channels, which stays exact: ONNX Runtime runs
            63 channels slower than 64. Above 1, layers from 256 wide are rounded up to 16 at least.
        graph: What `edgeshift.graph.trace` made of a model of the same structure, so that many levels of one network
            are traced once. Its numbers are not used. Models with torch's attention are traced anew, since what is
            opened depends on the weights, and so are twins.

    Raises:
        BadValue: If `multiple` is below 1.
        BadWeights: If the graph is of another structure.
        Untraceable: If torch.export cannot trace the model.
        NotExact: If the two models differ; names the first layer that does.
    """
    if multiple < 1:
        raise BadValue("multiple", multiple, "at least 1")
    inputs = example if isinstance(example, tuple) else (example,)
    prepare: Model = _as_it_is
    if graph is not None and not merge_twins and not any(can_open(m) for m in model.modules()):
        graph = with_numbers(graph, model)
    else:
        graph, prepare = traced(model, inputs, merge_twins=merge_twins)
    small = shrink_traced(
        model, graph, inputs, prepare=prepare, prove_it=prove_it, tolerance=tolerance, multiple=multiple
    )
    return _narrow(small, inputs, tolerance) if narrow_branches else small


def traced(
    model: nn.Module, example: tuple[Any, ...], *, merge_twins: bool = False
) -> tuple[ChannelGraph, Model]:
    """What `shrink_traced` takes: the graph, and the exact rewriting of the model that it was traced from.

    Attention modules of torch are opened, but only those in which something goes.

    Args:
        model: Any model torch.export can trace. Not changed.
        example: Its positional arguments.
        merge_twins: See `shrink`.

    Raises:
        Untraceable: If torch.export cannot trace the model.
    """
    with _uncollected():
        return _traced(model, example, merge_twins=merge_twins)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for reference cycles: looking through all that torch holds takes longer than the work itself."""
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()


def _traced(model: nn.Module, example: tuple[Any, ...], *, merge_twins: bool) -> tuple[ChannelGraph, Model]:
    """See `traced`."""
    columns = moves(trace(model, example)) if merge_twins else {}
    names = [n for n, m in named_modules(model) if can_open(m)]
    while True:
        prepare = partial(prepared, names=names, columns=columns)
        graph = trace(prepare(model), example)
        changed = list(fit_attention(analyse(graph), names)) if names else names
        if changed == names:
            # Of the structure alone: the same for all weights that the graph is asked about.
            tie_all(graph)
            whole_counts(graph)
            return graph, prepare
        names = changed


def prepared(
    model: nn.Module, *, names: list[str], columns: Mapping[str, list[tuple[int, int, int]]]
) -> nn.Module:
    """The model itself, or a copy with opened attention and with the readers of twin channels reading one of them.

    Args:
        model: Not changed.
        names: Attention modules to open.
        columns: Weight name -> (axis, from, to); see `twins.moves`.
    """
    if names:
        model = opened(model, names)
    if columns:
        model = copy_module(model)
        tensors = dict(model.named_parameters())
        with torch.no_grad():
            for name, pairs in columns.items():
                for axis, source, target in pairs:
                    tensors[name].select(axis, target).add_(tensors[name].select(axis, source))
                    tensors[name].select(axis, source).zero_()
    return model


def shrink_traced(
    model: nn.Module,
    graph: ChannelGraph,
    example: tuple[Any, ...],
    *,
    prepare: Model = _as_it_is,
    prove_it: bool = True,
    tolerance: float = 1e-9,
    multiple: int = 1,
) -> Shrunk:
    """`shrink` on a graph that is there already.

    Args:
        model: What the result must equal.
        graph: Traced from `prepare(model)`; shares its numbers.
        example: The traced arguments.
        prepare: An exact rewriting of the model before the cut.
        prove_it: See `shrink`.
        tolerance: See `shrink`.
        multiple: See `shrink`.
    """
    whole = prepare(model)
    pinned: frozenset[int] = frozenset()
    while True:
        with _uncollected():
            verdict = analyse(graph, pinned=pinned, multiple=multiple)
            small, plan = cut(whole, verdict)
        settled = settle(small, plan, verdict, example)
        stuck = settled.stuck
        if not stuck:
            try:
                proof = None
                if prove_it:
                    proof = prove(model, prepare, small, verdict, settled.plan, example, tolerance)
                return Shrunk(small, settled.plan, report_of(verdict, pinned), proof)
            except NotExact:
                # A size that a view regroups without an error, or an attribute that means something else.
                stuck = frozenset(node.spelled for _, node in spelled_nodes(verdict)) - pinned
                if not stuck:
                    raise
        pinned |= stuck


def _narrow(shrunk: Shrunk, example: tuple[Any, ...], tolerance: float) -> Shrunk:
    """Leave out filters that write zeros into living channels, where that is measured faster."""
    names = faster_narrow(shrunk.model, example)
    if not names:
        return shrunk
    small = narrowed(shrunk.model, names)
    wide = copy_module(shrunk.model).double()
    check_same(wide, narrowed(wide, names), example, tolerance)
    report = replace(shrunk.report, after=count(small, example))
    return Shrunk(small, narrow_plan(shrunk.plan, small, names), report, shrunk.proof)


def count(model: nn.Module, example: Tensor | tuple[Any, ...]) -> Counts:
    """Parameters, multiply-accumulates for one input, and widths of a model.

    Args:
        model: Any model torch.export can trace.
        example: A float input `(batch, ...)` or a tuple of positional arguments.
    """
    return counts_of(untouched(trace(model, example if isinstance(example, tuple) else (example,))))
