# SPDX-License-Identifier: Apache-2.0
"""The door: a sparse model in, a smaller model of the same class out, with the proof that it is the same function."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgeshift.core.errors import NotExact
from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.stand_ins import can_open
from edgeshift.core.values import ChannelGroup, Proof
from edgeshift.graph.analyse import analyse, rules, tie_all
from edgeshift.graph.channels import Array, ChannelGraph
from edgeshift.graph.fronts.torch_export import trace
from edgeshift.graph.prove import prove
from edgeshift.graph.report import Counts, Report
from edgeshift.graph.spelled import settle, spelled_nodes
from edgeshift.graph.surgery import cut, fit_attention, opened
from edgeshift.graph.tally import counts_of, report_of, untouched


@dataclass(frozen=True)
class Shrunk:
    """A model without its dead channels.

    Attributes:
        model: Of the user's own class, with smaller layers; can be trained, saved and exported.
        plan: Rebuilds the shapes on a freshly built model.
        report: What went and why.
        proof: What was tried to show that nothing changed; None where `prove=False` was asked.
    """

    model: nn.Module
    plan: ShapePlan
    report: Report
    proof: Proof | None


def shrink(
    model: nn.Module, example: Tensor | tuple[Any, ...], *, prove_it: bool = True, tolerance: float = 1e-9
) -> Shrunk:
    """Remove every channel that does nothing, and prove that the function is the same.

    After the idea of DNNShifter (arXiv 2309.06973), carried to a fixpoint over the whole graph and made exact.

    Args:
        model: Any model torch.export can trace; looked at in evaluation mode, never changed.
        example: A float input `(batch, ...)` or a tuple of positional arguments.
        prove_it: Compare both models in float64; switch off only where the caller does so itself.
        tolerance: On the largest difference over the largest output in float64.

    Raises:
        Untraceable: If torch.export cannot trace the model.
        NotExact: If the two models differ; names the first layer that does.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    names = [n for n, m in model.named_modules() if can_open(m)]
    whole = opened(model, names) if names else model
    while True:
        graph = trace(whole, inputs)
        if names:  # open only the attention modules in which something goes
            changed = list(fit_attention(analyse(graph), names))
            if changed != names:
                names = changed
                whole = opened(model, names) if names else model
                continue
        return shrink_traced(model, graph, inputs, whole=whole, prove_it=prove_it, tolerance=tolerance)


def shrink_traced(
    model: nn.Module,
    graph: ChannelGraph,
    example: tuple[Any, ...],
    *,
    whole: nn.Module | None = None,
    prove_it: bool = True,
    tolerance: float = 1e-9,
) -> Shrunk:
    """`shrink` on a graph that is there already.

    Args:
        model: What the result must equal.
        graph: Traced from `whole`; shares its numbers.
        example: The traced arguments.
        whole: The model, or its copy with opened attention; None is the model.
        prove_it: See `shrink`.
        tolerance: See `shrink`.
    """
    whole = model if whole is None else whole
    pinned: frozenset[int] = frozenset()
    while True:
        verdict = analyse(graph, pinned=pinned)
        small, plan = cut(whole, verdict)
        settled = settle(small, plan, verdict, example)
        stuck = settled.stuck
        if not stuck:
            try:
                proof = None
                if prove_it:
                    proof = prove(model, whole, small, verdict, settled.plan, example, tolerance)
                return Shrunk(small, settled.plan, report_of(verdict, pinned), proof)
            except NotExact:
                # A size that a view regroups without an error, or an attribute that means something else.
                stuck = frozenset(node.spelled for _, node in spelled_nodes(verdict))
                if not stuck:
                    raise
        pinned |= stuck


def count(model: nn.Module, example: Tensor | tuple[Any, ...]) -> Counts:
    """Parameters, multiply-accumulates for one input, and widths of a model.

    Args:
        model: Any model torch.export can trace.
        example: A float input `(batch, ...)` or a tuple of positional arguments.
    """
    graph = trace(model, example if isinstance(example, tuple) else (example,))
    return counts_of(untouched(graph))


def channel_groups(model: nn.Module, example: Tensor | tuple[Any, ...]) -> tuple[ChannelGroup, ...]:
    """Which channels can only go together, with the parameter rows that make each of them.

    Args:
        model: Any model torch.export can trace.
        example: A float input `(batch, ...)` or a tuple of positional arguments.

    Returns:
        One group per set of tied layers, in forward order; channels that must stay are left out.
    """
    graph = trace(model, example if isinstance(example, tuple) else (example,))
    ties = tie_all(graph)
    pinned = np.zeros(ties.used, np.bool_)
    for atoms in ties.pinned:
        pinned[ties.roots(atoms)] = True
    for box in ties.boxes:  # a block that must stay full is no free choice of single channels
        pinned[ties.roots(box.cells)] = True
    rows, cost = _rows_of_atoms(graph, ties, pinned)
    batch = graph.shape(graph.inputs[0])[0]
    grouped: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for atom, members in rows.items():
        shape: dict[str, int] = {}
        for name, _ in members:
            shape[name] = shape.get(name, 0) + 1
        grouped.setdefault(tuple(shape.items()), []).append(atom)
    found = []
    for signature, atoms in grouped.items():
        table = {
            name: np.array([[r for n, r in rows[a] if n == name] for a in atoms], np.int64) for name, _ in signature
        }
        first = next(n for n in table if n.endswith("weight"))
        share = float(np.mean([cost.get(a, 0.0) for a in atoms])) / batch
        found.append(ChannelGroup(first.removesuffix(".weight"), table, share).check())
    return tuple(found)


def _rows_of_atoms(
    graph: ChannelGraph, ties: Any, pinned: Array
) -> tuple[dict[int, list[tuple[str, int]]], dict[int, float]]:
    """Atom -> (parameter, row) of all that makes the channel; atom -> multiply-accumulates for the traced batch."""
    rows: dict[int, list[tuple[str, int]]] = {}
    cost: dict[int, float] = {}
    verdict = untouched(graph)
    for node in graph.nodes:
        if node.kind not in ("conv", "linear", "affine"):
            continue
        for number in node.inputs[1:3]:
            if number is None or ties.labels[number].axes[0] is None:
                continue
            lead = 1 if node.attributes.get("transposed") and number == node.inputs[1] else 0
            vector = ties.labels[number].axes[lead]
            if vector is None or lead:
                continue
            for row, atom in enumerate(ties.roots(vector).tolist()):
                name = graph.values[number].param
                if not pinned[atom] and (name, row) not in rows.setdefault(atom, []):
                    rows[atom].append((name, row))
        if node.kind == "affine" or node.inputs[1] is None:
            continue
        macs = rules()[node.kind].macs(node, verdict)
        for axis in (0, 1):
            vector = ties.labels[node.inputs[1]].axes[axis]
            if vector is not None:
                for atom in ties.roots(vector).tolist():
                    cost[atom] = cost.get(atom, 0.0) + macs / len(vector)
    makers = {
        a: m for a, m in rows.items() if any(n.endswith("weight") for n, _ in m) and cost.get(a, 0.0) > 0
    }
    return makers, cost


