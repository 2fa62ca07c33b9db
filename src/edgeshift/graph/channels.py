# SPDX-License-Identifier: Apache-2.0
"""The channel graph: operators, tensors and parameters, as small as the analysis needs. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Value:
    """One tensor of the graph.

    Attributes:
        shape: Sizes at the traced example.
        name: Name in the source graph, for messages.
        param: Parameter or buffer name if the tensor is one, else "".
        trained: Whether it is a parameter, not a buffer.
        data: The numbers of a parameter, buffer or literal, else None. Never written to.
        sealed: Whether parts of it may go but none of its numbers may change, as those of a quantised weight.
    """

    shape: tuple[int, ...]
    name: str
    param: str = ""
    trained: bool = False
    data: Array | None = field(default=None, compare=False, repr=False)
    sealed: bool = False


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        kind: Which rule speaks for it, such as "conv".
        inputs: Value numbers; None for an absent optional input.
        outputs: Value numbers.
        attributes: What the rule needs to know, such as `{"groups": 4}`.
        source: Operator name in the source graph, such as "aten.conv2d.default".
        module: Dotted name of the module that ran it, empty at the top.
        line: "file.py:12" in the user's own code, empty where unknown.
    """

    kind: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    attributes: Mapping[str, Any]
    source: str
    module: str = ""
    line: str = ""

    @property
    def spelled(self) -> int:
        """The value whose sizes the user's code spells out: what a slice cuts, what any other operator makes."""
        number = self.inputs[0] if self.kind == "take" else self.outputs[0]
        assert number is not None
        return number


@dataclass
class ChannelGraph:
    """A traced network; nodes are in execution order.

    Attributes:
        values: All tensors; a value's number is its position.
        nodes: All operators, each after the producers of its inputs.
        inputs: Numbers of the network's inputs.
        outputs: Numbers of the network's outputs.
        tracer: How it was traced.
        ties: What `analyse.tie_all` found, by the values it had to fix: structure only, so equal for all weights.
        readers: Output of a convolution or linear layer -> its `readers.Reader`, made on first use.
        sizes: The `report.Counts` of the whole network, once somebody asked.
    """

    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    tracer: str = "one recorded run"
    ties: dict[frozenset[int], Any] = field(default_factory=dict, repr=False, compare=False)
    readers: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)
    sizes: list[Any] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def makers(self) -> dict[int, Node]:
        """Value number -> who makes it; to be asked only once the graph is whole."""
        return {out: node for node in self.nodes for out in node.outputs}

    @cached_property
    def spelled(self) -> list[tuple[int, Node]]:
        """Positions and nodes with sizes that the user's code spells out."""
        return [(p, n) for p, n in enumerate(self.nodes) if n.attributes.get("spelled")]

    @cached_property
    def vectors(self) -> dict[int, Array]:
        """The numbers of all values of one axis that are known, floats: biases, scales, statistics."""
        known = ((n, v.data) for n, v in enumerate(self.values) if v.data is not None)
        return {n: data for n, data in known if data.ndim == 1 and data.dtype.kind == "f"}

    def add_value(self, value: Value) -> int:
        """Number of the new value."""
        self.values.append(value)
        return len(self.values) - 1

    def shape(self, number: int | None) -> tuple[int, ...]:
        """Shape of a value that must be there."""
        assert number is not None
        return self.values[number].shape

    def bare(self) -> "ChannelGraph":
        """The same network without its numbers, and without what was found of it."""
        values = [
            v if v.data is None else Value(v.shape, v.name, v.param, v.trained, sealed=v.sealed)
            for v in self.values
        ]
        return ChannelGraph(values, self.nodes, self.inputs, self.outputs, self.tracer)

    def users(self) -> dict[int, list[int]]:
        """Value number -> positions of the nodes that take it."""
        found: dict[int, list[int]] = {}
        for position, node in enumerate(self.nodes):
            for number in node.inputs:
                if number is not None:
                    found.setdefault(number, []).append(position)
        return found


def join_pads(graph: ChannelGraph) -> ChannelGraph:
    """Let convolutions read what is before a padding with zeros of their own space: to channels it is the same.

    The graph's nodes are changed in place; a padding that nobody else reads stays, unread.
    """
    for position, node in enumerate(graph.nodes):
        x = node.inputs[0] if node.kind == "conv" else None
        maker = None if x is None else graph.makers.get(x)
        if maker is None or maker.kind != "pad" or maker.attributes["value"] != 0:
            continue
        lead = len(graph.shape(x)) - int(node.attributes["rank"])
        widths = (*maker.attributes["before"], *maker.attributes["after"])
        around = maker.attributes["before"][:lead] + maker.attributes["after"][:lead]
        if min(widths) >= 0 and not any(around):
            inputs = (maker.inputs[0], *node.inputs[1:])
            attributes = {**node.attributes, "padded": True}
            graph.nodes[position] = replace(node, inputs=inputs, attributes=attributes)
    vars(graph).pop("makers", None)
    return graph


def groups_of_reshape(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Split a reshape into independent runs of axes with equal products.

    Returns:
        Pairs (old axes, new axes), in order; together they cover every axis.
    """
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [], []
        a = b = 1
        if i < len(old):
            left, a, i = [i], old[i], i + 1
        if j < len(new):
            right, b, j = [j], new[j], j + 1
        while a != b:
            if a < b and i < len(old):
                a, left, i = a * old[i], [*left, i], i + 1
            elif b < a and j < len(new):
                b, right, j = b * new[j], [*right, j], j + 1
            else:
                # Products differ only through sizes of 0 or trailing ones: one group takes all that is left.
                return [*groups, ([*left, *range(i, len(old))], [*right, *range(j, len(new))])]
        groups.append((left, right))
    return groups


def widen(array: Array, axes: list[int], shape: tuple[int, ...]) -> Array:
    """`array` with the named axes at full size; axes of size 1 stand for "the same all along"."""
    target = tuple(shape[d] if d in axes else array.shape[d] for d in range(array.ndim))
    return array if target == array.shape else np.broadcast_to(array, target)


def reshape_array(array: Array, old: tuple[int, ...], new: tuple[int, ...]) -> Array:
    """Reshape an array whose axes of size 1 stand for "the same all along"; such axes stay 1 where they can."""
    if array.size == 1:
        return array.reshape((1,) * len(new))
    wide: list[int] = []
    sizes: list[int] = []
    for left, right in groups_of_reshape(old, new):
        if all(array.shape[d] == 1 for d in left):
            sizes += [1] * len(right)
        else:
            wide += left
            sizes += [new[d] for d in right]
    return np.ascontiguousarray(widen(array, wide, old)).reshape(sizes)


def same_along(array: Array, axis: int) -> bool:
    """Whether all entries along the axis are equal (NaN equals NaN)."""
    if array.shape[axis] == 1:
        return True
    if array.size:  # two corners tell most arrays
        low, high = array.item(0), array[(0,) * axis + (-1,) + (0,) * (array.ndim - axis - 1)]
        if low != high and (low == low or high == high):
            return False
    first = np.take(array, [0], axis)
    equal = array == first
    if array.dtype.kind == "f":
        equal |= np.isnan(array) & np.isnan(first)
    return bool(equal.all())


def narrow(array: Array) -> Array:
    """`array` with every axis along which it does not change at size 1."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1 and same_along(array, axis):
            array = np.take(array, [0], axis)
    return array


def along(array: Array, axis: int, size: int) -> Array:
    """The vector along one axis: the value where all else agrees, NaN where it does not.

    Args:
        array: Float array whose axes of size 1 stand for "the same all along".
        axis: The axis to keep.
        size: Its full size.

    Returns:
        `(size,)`, float64.
    """
    if array.size == array.shape[axis]:
        flat = array.reshape(-1)
        if len(flat) == size:
            return flat if flat.dtype == np.float64 else flat.astype(np.float64)
        return np.full(size, flat[0], np.float64)
    others = tuple(d for d in range(array.ndim) if d != axis)
    low, high = array.min(others), array.max(others)
    vector = np.where(low == high, low, np.nan)
    return np.broadcast_to(vector, (size,)).astype(np.float64)


def any_along(array: Array, axis: int, size: int) -> Array:
    """`(size,)`, bool: whether anything is true at each position of one axis; not to be written to."""
    if array.size == size == array.shape[axis]:
        return array.reshape(-1)
    if array.size == 1:
        return _row(size, bool(array.item()))
    others = tuple(d for d in range(array.ndim) if d != axis)
    return np.broadcast_to(array.any(others), (size,))


@lru_cache(256)
def _row(size: int, value: bool) -> Array:
    """`(size,)`, bool, all the same; one array for all who ask."""
    row = np.full(size, value)
    row.flags.writeable = False
    return row


@cache
def all_of(rank: int) -> Array:
    """ "Everything", as bool of that rank; one array for all who ask, not to be written to."""
    return np.ones((1,) * rank, np.bool_)


@cache
def none_of(rank: int) -> Array:
    """ "Nothing", as bool of that rank; one array for all who ask, not to be written to."""
    return np.zeros((1,) * rank, np.bool_)


@cache
def unknown(rank: int) -> Array:
    """ "Not known", as float64 of that rank; one array for all who ask, not to be written to."""
    return np.full((1,) * rank, np.nan)


def fit_reads(array: Array, shape: tuple[int, ...]) -> Array:
    """Reduce a bool array with "any" to a shape it was broadcast to (leading axes dropped, size-1 axes folded)."""
    if array.ndim == len(shape) and (array.size == 1 or 1 not in shape):
        return array
    extra = array.ndim - len(shape)
    if extra > 0:
        array = np.asarray(array.any(tuple(range(extra))))
    for axis, size in enumerate(shape):
        if size == 1 and array.shape[axis] > 1:
            array = np.asarray(array.any(axis, keepdims=True))
    return array
