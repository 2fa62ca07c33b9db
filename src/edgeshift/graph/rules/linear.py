# SPDX-License-Identifier: Apache-2.0
"""Linear layers: `x @ w.T + b` over the last axis, and `x @ w` with a parameter."""

import math
from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.graph.channels import ChannelGraph, Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.readers import (
    Reader,
    is_shared,
    reader_constants,
    reader_demand,
    reader_edit,
    reader_reads,
    tie_reader,
)
from edgeshift.graph.ties import Ties


def reader_of(node: Node, graph: ChannelGraph) -> Reader:
    """The weighted sum that a linear layer is; attribute `w_out` says which axis of the weight holds its rows."""
    known: Reader | None = graph.readers.get(node.outputs[0])
    if known is not None:
        return known
    x, w, bias = node.inputs
    assert x is not None and w is not None
    w_out = int(node.attributes.get("w_out", 0))
    last = len(graph.shape(x)) - 1
    made = graph.readers[node.outputs[0]] = Reader(
        x=x,
        axis=last,
        w=w,
        w_out=w_out,
        w_in=1 - w_out,
        bias=bias,
        out=node.outputs[0],
        out_axis=last,
        groups=1,
        even=True,
        can_bias=bool(node.attributes["can_bias"]),
    )
    return made


@dataclass(frozen=True)
class Linear:
    """Each output feature sums input features."""

    card: ClassVar[Card] = Card(
        name="linear",
        says="Linear layers: dead rows, unread columns, constants into the bias.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("linear",)

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        tie_reader(reader_of(node, ties.graph), ties)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`."""
        reader_constants(reader_of(node, facts.graph), facts)

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`."""
        reader_reads(reader_of(node, facts.graph), facts)

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`."""
        reader = reader_of(node, facts.graph)
        reader_demand(reader, position, facts, demands, shared=is_shared(reader.w, demands.ties))

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`."""
        reader_edit(reader_of(node, facts.graph), position, facts, fate, edits)

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`."""
        assert node.inputs[1] is not None
        inner = fate.size(node.inputs[1])[1 - int(node.attributes.get("w_out", 0))]
        return math.prod(fate.size(node.outputs[0])) * inner
