# SPDX-License-Identifier: Apache-2.0
"""Channels that always equal another channel, since equal producers make them."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from edgeshift.graph.channels import Array, ChannelGraph, Node
from edgeshift.graph.facts import Facts
from edgeshift.graph.readers import Reader
from edgeshift.graph.rules import conv, linear

READERS = {"conv": conv.reader_of, "linear": linear.reader_of}
PER_CHANNEL = ("pool", "elementwise")


@dataclass
class Classes:
    """Which channels are equal: equal numbers mean equal channels, over the whole graph.

    Attributes:
        of: Value -> `(channels,)` int64 along its channel axis; missing where nothing is known.
        known: What a class is made of -> its number.
    """

    of: dict[int, Array] = field(default_factory=dict)
    known: dict[Hashable, int] = field(default_factory=dict)

    def number(self, made_of: Hashable) -> int:
        """The class of whatever is made of this."""
        return self.known.setdefault(made_of, len(self.known))


def channel_axis(graph: ChannelGraph, number: int, last: set[int]) -> int:
    """1 for images, the last axis after a linear layer."""
    return len(graph.shape(number)) - 1 if number in last else 1


def equal_channels(graph: ChannelGraph, facts: Facts) -> tuple[Classes, dict[int, int]]:
    """Classes of equal channels, forwards.

    Returns:
        The classes, and value -> axis of its channels.
    """
    classes, axes = Classes(), {}
    for position, node in enumerate(graph.nodes):
        out = node.outputs[0]
        if node.kind in READERS:
            reader = READERS[node.kind](node, graph)
            if reader.groups == 1 and reader.w_out == 0 and facts.numbers(reader.w) is not None:
                axes[out] = reader.out_axis
                classes.of[out] = _of_reader(reader, node, position, graph, facts, classes, axes)
        elif node.kind == "affine" and node.inputs[0] in classes.of and axes[node.inputs[0]] == 1:
            columns = [facts.constant(i) for i in node.inputs[1:] if i is not None]
            before = classes.of[node.inputs[0]]
            keys = [("affine", position if np.isnan(c).any() else float(node.attributes["eps"]), int(b), *map(float, c))
                    for b, *c in zip(before, *columns, strict=True)]  # fmt: skip
            classes.of[out], axes[out] = np.array([classes.number(k) for k in keys]), 1
        elif node.kind in PER_CHANNEL and len(node.inputs) == 1 and node.inputs[0] in classes.of:
            what = repr(
                (node.kind, node.source, sorted(node.attributes.items(), key=str), graph.shape(out)[2:])
            )
            before = classes.of[node.inputs[0]]
            classes.of[out] = np.array([classes.number((what, int(b))) for b in before])
            axes[out] = axes[node.inputs[0]]
    return classes, axes


def _of_reader(
    reader: Reader,
    node: Node,
    position: int,
    graph: ChannelGraph,
    facts: Facts,
    classes: Classes,
    axes: dict[int, int],
) -> Array:
    """Output channels are equal where their weights are, summed over equal inputs, and their biases."""
    weight = np.asarray(facts.numbers(reader.w))
    inputs = classes.of.get(reader.x)
    if inputs is not None and axes[reader.x] == reader.axis and len(inputs) == weight.shape[1]:
        order, group = np.unique(inputs, return_inverse=True)
        if len(order) < len(inputs):
            summed = np.zeros((len(order), weight.shape[0], *weight.shape[2:]))
            np.add.at(summed, group, np.swapaxes(weight, 0, 1).astype(np.float64))
            weight = np.swapaxes(summed, 0, 1)
    bias = np.zeros(len(weight)) if reader.bias is None else facts.constant(reader.bias)
    where = (
        reader.x,
        node.source,
        repr(sorted(node.attributes.items(), key=str)),
        graph.shape(reader.out)[2:],
    )
    rows = np.ascontiguousarray(weight).reshape(len(weight), -1)
    clean = np.isfinite(rows).all(1) & ~np.isnan(bias)
    return np.array(
        [
            classes.number((where, row.tobytes(), float(b)) if good else (position, i))
            for i, (row, b, good) in enumerate(zip(rows, bias, clean, strict=True))
        ]
    )


def moves(graph: ChannelGraph) -> dict[str, list[tuple[int, int, int]]]:
    """What to change so that only one of each class is read.

    Returns:
        Weight name -> list of (axis, from, to): add column `from` to column `to`, then zero column `from`.
    """
    facts = Facts(graph)
    classes, axes = equal_channels(graph, facts)
    uses: dict[int, int] = {}
    for node in graph.nodes:
        for number in node.inputs:
            if number is not None:
                uses[number] = uses.get(number, 0) + 1
    found: dict[str, list[tuple[int, int, int]]] = {}
    for node in graph.nodes:
        if node.kind not in READERS:
            continue
        reader = READERS[node.kind](node, graph)
        name = graph.values[reader.w].param
        inputs = classes.of.get(reader.x)
        if (
            inputs is None
            or not name
            or uses[reader.w] > 1
            or reader.groups > 1
            or axes[reader.x] != reader.axis
        ):
            continue
        first: dict[int, int] = {}
        for i, c in enumerate(inputs.tolist()):
            if first.setdefault(c, i) != i:
                found.setdefault(name, []).append((reader.w_in, i, first[c]))
    return found
