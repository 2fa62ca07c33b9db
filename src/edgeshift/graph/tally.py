# SPDX-License-Identifier: Apache-2.0
"""Sizes of a network under a verdict, and what went and why; for any front end. No torch."""

import math

import numpy as np

from edgeshift.graph.analyse import Verdict, rules, tie_all
from edgeshift.graph.channels import Array, ChannelGraph
from edgeshift.graph.facts import Facts
from edgeshift.graph.report import Counts, Report


def untouched(graph: ChannelGraph) -> Verdict:
    """The verdict that everything stays."""
    ties = tie_all(graph)
    return Verdict(graph, ties, Facts(graph), np.ones(ties.used, np.bool_))


def counts_of(verdict: Verdict) -> Counts:
    """How big the network is under a verdict."""
    graph = verdict.graph
    parameters = macs = 0
    added: dict[int, int] = {}
    for number, value in enumerate(graph.values):
        if value.param:
            size = math.prod(verdict.size(number))
            grid = verdict.edits.grouped.get(number)
            if grid is not None:
                size = size // grid.shape[1] * int(grid.sum(1).max())
            added[number] = size
    widths: dict[str, int] = {}
    batch = graph.shape(graph.inputs[0])[0] if graph.inputs and graph.shape(graph.inputs[0]) else 1
    for position, node in enumerate(graph.nodes):
        macs += rules()[node.kind].macs(node, verdict)
        if node.kind in ("conv", "linear") and node.inputs[1] is not None:
            weight = graph.values[node.inputs[1]]
            name = weight.param.removesuffix(".weight") or node.module
            axis = len(graph.shape(node.outputs[0])) - 1
            if node.kind == "conv":
                axis -= int(node.attributes["rank"])
            widths[name] = int(verdict.size(node.outputs[0])[axis])
            if position in verdict.edits.bias and node.inputs[2] is None:
                parameters += widths[name]
    parameters += sum(size for number, size in added.items() if graph.values[number].trained)
    return Counts(parameters, macs // max(1, batch), widths)


def whole_counts(graph: ChannelGraph) -> Counts:
    """How big the network is when nothing goes; counted once."""
    if not graph.sizes:
        graph.sizes.append(counts_of(untouched(graph)))
    known: Counts = graph.sizes[0]
    return known


def report_of(verdict: Verdict, pinned: frozenset[int] = frozenset()) -> Report:
    """What went, layer by layer, and what could not."""
    unread: dict[str, int] = {}
    constant: dict[str, int] = {}
    revived: set[int] = set()
    facts, graph = verdict.facts, verdict.graph
    for node in graph.nodes:
        if node.kind not in ("conv", "linear") or node.inputs[1] is None:
            continue
        out = node.outputs[0]
        axis = len(graph.shape(out)) - 1 - (int(node.attributes["rank"]) if node.kind == "conv" else 0)
        vector = verdict.ties.labels[out].axes[axis]
        if vector is None:
            continue
        name = graph.values[node.inputs[1]].param.removesuffix(".weight") or node.module
        gone = ~verdict.kept(out, axis)
        known = ~np.isnan(facts.channel(out, axis))
        lost = int(np.count_nonzero(gone))
        if lost:
            constant[name] = int(np.count_nonzero(gone & known))
            unread[name] = lost - constant[name]
        spare = ~gone & ~facts.needed_channels(out, axis)
        if np.count_nonzero(spare):
            revived |= _spare(verdict, vector, spare)
    places = {
        n.line or n.module: None for n in graph.nodes if n.attributes.get("spelled") and n.spelled in pinned
    }
    return Report(
        whole_counts(graph),
        counts_of(verdict),
        unread,
        constant,
        len(revived),
        dict(verdict.named),
        tuple(places),
    )


def _spare(verdict: Verdict, vector: Array, which: Array) -> set[int]:
    """Atoms that nobody needs."""
    return set(verdict.ties.roots(vector[which]).tolist())
