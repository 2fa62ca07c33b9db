# SPDX-License-Identifier: Apache-2.0
"""Which channels can only go together: the groups that channel pruning chooses from."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from edgeshift.core.values import ChannelGroup
from edgeshift.graph.analyse import rules, tie_all
from edgeshift.graph.channels import Array, ChannelGraph
from edgeshift.graph.fronts.torch_export import trace
from edgeshift.graph.tally import untouched
from edgeshift.graph.ties import Ties


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
    readers = _readers_of_atoms(graph, ties)
    batch = graph.shape(graph.inputs[0])[0]
    grouped: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for atom, members in rows.items():
        shape: dict[str, int] = {}
        for name, _ in members:
            shape[name] = shape.get(name, 0) + 1
        grouped.setdefault(tuple(shape.items()), []).append(atom)
    found = []
    for signature, members_of in grouped.items():
        table = {
            name: np.array([[r for n, r in rows[a] if n == name] for a in members_of], np.int64)
            for name, _ in signature
        }
        first = next(n for n in table if n.endswith("weight"))
        share = float(np.mean([cost.get(a, 0.0) for a in members_of])) / batch
        read = _columns_of(readers, members_of)
        found.append(ChannelGroup(first.removesuffix(".weight"), table, share, read).check())
    return tuple(found)


def _readers_of_atoms(graph: ChannelGraph, ties: Ties) -> dict[int, dict[str, list[int]]]:
    """Atom -> parameter -> its columns that read the channel, of convolutions and linear layers."""
    readers: dict[int, dict[str, list[int]]] = {}
    for node in graph.nodes:
        if node.kind not in ("conv", "linear") or node.inputs[1] is None or node.attributes.get("transposed"):
            continue
        vector = ties.labels[node.inputs[1]].axes[1]
        name = graph.values[node.inputs[1]].param
        if vector is None or name is None:
            continue
        for column, atom in enumerate(ties.roots(vector).tolist()):
            found = readers.setdefault(atom, {}).setdefault(name, [])
            if column not in found:
                found.append(column)
    return readers


def _columns_of(readers: dict[int, dict[str, list[int]]], atoms: list[int]) -> dict[str, Array]:
    """Parameter -> `(channels, k)` columns, for those that read every channel of a group equally often."""
    first = readers.get(atoms[0], {})
    even = [n for n, c in first.items() if {len(readers.get(a, {}).get(n, ())) for a in atoms} == {len(c)}]
    return {name: np.array([readers[a][name] for a in atoms], np.int64) for name in even}


def _rows_of_atoms(
    graph: ChannelGraph, ties: Ties, pinned: Array
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
