# SPDX-License-Identifier: Apache-2.0
"""Convolutions of one, two and three dimensions, grouped, depthwise and transposed."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

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
from edgeshift.graph.ties import Labels, Ties


def reader_of(node: Node, graph: ChannelGraph) -> Reader:
    """The weighted sum that a convolution is.

    Attributes of the node: `groups`, `transposed`, `padded` (zero padding, or a transposed kernel that does not
    reach every position equally), `can_bias`, and `rank` = number of spatial axes.
    """
    known: Reader | None = graph.readers.get(node.outputs[0])
    if known is not None:
        return known
    x, w, bias = node.inputs
    assert x is not None and w is not None
    transposed = bool(node.attributes["transposed"])
    axis = len(graph.shape(x)) - int(node.attributes["rank"]) - 1
    made = graph.readers[node.outputs[0]] = Reader(
        x=x,
        axis=axis,
        w=w,
        w_out=1 if transposed else 0,
        w_in=0 if transposed else 1,
        bias=bias,
        out=node.outputs[0],
        out_axis=axis,
        groups=int(node.attributes["groups"]),
        even=not node.attributes["padded"],
        can_bias=bool(node.attributes["can_bias"]),
    )
    return made


@dataclass(frozen=True)
class Conv:
    """Each output channel sums input channels over a window."""

    card: ClassVar[Card] = Card(
        name="conv",
        says="Convolutions: dead filters, unread channels, constants into bias or onto one carrier channel.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("conv",)

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`; a transposed grouped convolution keeps its sizes."""
        reader = reader_of(node, ties.graph)
        if reader.groups > 1 and reader.w_out == 1:
            for number in node.inputs:
                ties.pin_value(number)
            ties.labels[node.outputs[0]] = Labels([None] * len(ties.graph.shape(node.outputs[0])))
            return
        tie_reader(reader, ties)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`."""
        reader = reader_of(node, facts.graph)
        if reader.groups > 1 and reader.w_out == 1:
            self._empty_filters(reader, facts)
        else:
            reader_constants(reader, facts)

    @staticmethod
    def _empty_filters(reader: Reader, facts: Facts) -> None:
        """Of a transposed grouped convolution only this much is known: filters of zeros give their bias."""
        parts = [i for i in (reader.x, reader.w, reader.bias) if i is not None]
        facts.tainted[reader.out] = any(facts.is_tainted(i) for i in parts)
        if facts.tainted[reader.out] or facts.numbers(reader.w) is None:
            return
        pairs = facts.pairs_of(reader.w)
        live = pairs.reshape(reader.groups, -1, pairs.shape[1]).any(1).reshape(-1)
        bias = np.zeros(live.shape) if reader.bias is None else facts.constant(reader.bias)
        shape = [1] * len(facts.graph.shape(reader.out))
        shape[reader.out_axis] = len(live)
        facts.const[reader.out] = np.where(live, np.nan, bias).reshape(shape)

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`."""
        reader = reader_of(node, facts.graph)
        if reader.groups > 1 and reader.w_out == 1:
            facts.read_whole(node)
        else:
            reader_reads(reader, facts)

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`."""
        reader = reader_of(node, facts.graph)
        if not (reader.groups > 1 and reader.w_out == 1):
            reader_demand(reader, position, facts, demands, shared=is_shared(reader.w, demands.ties))

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`."""
        reader = reader_of(node, facts.graph)
        if not (reader.groups > 1 and reader.w_out == 1):
            reader_edit(reader, position, facts, fate, edits)

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: entries of the output (transposed: of the input) times weights that meet each."""
        x, w, _ = node.inputs
        assert x is not None and w is not None
        weight = list(fate.size(w))
        groups = int(node.attributes["groups"])
        if groups > 1 and not node.attributes["transposed"]:
            axis = len(fate.size(x)) - int(node.attributes["rank"]) - 1
            weight[1] = int(fate.kept(x, axis).reshape(groups, -1).sum(1).max())
        entries = fate.size(x) if node.attributes["transposed"] else fate.size(node.outputs[0])
        return math.prod(entries) * math.prod(weight[1:])
