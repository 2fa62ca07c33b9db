# SPDX-License-Identifier: Apache-2.0
"""Operators that work entry by entry, with broadcasting: activations, sums, products, comparisons."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Labels, Ties

# Of a step: float32 rounds less for any number of steps that 16 bits hold.
NEAR_A_JUMP = 0.01
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.where(x * beta > threshold, x, np.log1p(np.exp(np.minimum(x * beta, threshold))) / beta)


def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))))


def _elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) * input_scale))


def _clip(x: Array, low: float | None = None, high: float | None = None) -> Array:
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return np.asarray(np.minimum(np.maximum(x, low), high))


def _quantize(x: Array, scale: float, zero: float, low: float, high: float) -> Array:
    steps = x / scale
    apart = np.abs(steps - np.floor(steps) - 0.5) > NEAR_A_JUMP
    return np.where(apart, np.clip(np.rint(steps) + zero, low, high), np.nan)


# What a constant becomes. A function that jumps (sign, floor, comparisons) is left out on purpose: a constant known
# to 16 digits may fall on the other side of the jump in float32. Quantising knows those that are not near one.
FUNCTIONS: dict[str, Callable[..., Array]] = {
    "abs": np.abs,
    "clip": _clip,
    "cos": np.cos,
    "dequantize": lambda x, scale, zero: (x - zero) * scale,
    "elu": _elu,
    "erf": _erf,
    "exp": np.exp,
    "gelu": _gelu,
    "hardsigmoid": lambda x, alpha=1 / 6, beta=0.5: _clip(x * alpha + beta, 0, 1),
    "hardswish": lambda x: x * _clip(x / 6 + 0.5, 0, 1),
    "identity": lambda x: x,
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    "log": np.log,
    "logsigmoid": lambda x: -_softplus(-x),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "narrow": lambda x: np.where(x == 0, 0.0, np.nan),  # a cast to fewer digits rounds where nobody knows
    "neg": np.negative,
    "reciprocal": np.reciprocal,
    "relu": lambda x: np.maximum(x, 0),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "sin": np.sin,
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
    "tanhshrink": lambda x: x - np.tanh(x),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "quantize": _quantize,
    "prelu": lambda x, w: np.where(x > 0, x, w * x),
}


# Functions that may be known although one of their arguments is not: zero times anything, one to any power.
KEEPS_KNOWN = {"mul", "pow"}


def aligned(array: Array, rank: int) -> Array:
    """`array` with leading axes of size 1 up to `rank`."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def apply(name: str, arrays: list[Array], options: dict[str, Any]) -> Array:
    """A function of the table over constants; NaN and infinity become "not known"."""
    result = np.asarray(FUNCTIONS[name](*arrays, **options), np.float64)
    result = np.where(np.isfinite(result), result, np.nan)
    return result


def tie_elementwise(numbers: list[int], output: int, ties: Ties) -> None:
    """Tie the channels of operands that broadcast against each other, and label the output."""
    graph = ties.graph
    shape = graph.values[output].shape
    rank = len(shape)
    box: tuple[int, int] | None = None  # the first operand whose channels span two axes, and its axis offset
    for number in numbers:
        if ties.labels[number].cells is not None:
            box = (number, rank - len(graph.values[number].shape))
            break
    spans = [] if box is None else [d + box[1] for d in ties.labels[box[0]].box_axes()]
    axes: list[Array | None] = [None] * rank
    made = all(
        graph.values[n].param or not graph.values[n].shape for n in numbers
    )  # a weight made of parameters
    for d in range(rank):
        parts = []
        for number in numbers:
            own = d - (rank - len(graph.values[number].shape))
            if own >= 0 and graph.values[number].shape[own] == shape[d] and shape[d] > 1:
                parts.append((number, own))
        if not parts or d in spans:
            continue
        tracked = [p for p in parts if ties.axis(*p) is not None]
        if tracked or made:
            for number, own in parts:
                if graph.values[number].param and ties.labels[number].cells is None:
                    ties.param_axis(number, own)
            axes[d] = ties.tie_axes(parts)
    cells = None
    if box is not None:
        cells = aligned(_tie_box(numbers, box, rank, ties), rank)
        for d in spans[:-1]:
            axes[d] = ties.labels[box[0]].axes[d - box[1]]
    ties.labels[output] = Labels(axes, cells)


def _tie_box(numbers: list[int], box: tuple[int, int], rank: int, ties: Ties) -> Array:
    """Tie every operand to the first one whose channels span several axes; its cells."""
    graph = ties.graph
    holder, offset = box
    own = ties.labels[holder]
    cells = own.cells
    assert cells is not None
    spans = own.box_axes()
    for number in numbers:
        if number == holder:
            continue
        labels = ties.labels[number]
        shift = offset - (rank - len(graph.values[number].shape))
        there = [d for d in spans if d + shift >= 0 and graph.values[number].shape[d + shift] > 1]
        if not there:
            continue
        if labels.cells is not None and aligned(labels.cells, rank).shape == aligned(cells, rank).shape:
            ties.union(aligned(labels.cells, rank), aligned(cells, rank))
            for d in spans[:-1]:
                a, b = own.axes[d], labels.axes[d + shift]
                if a is not None and b is not None:
                    ties.union(a, b)
            continue
        for d in there:
            if graph.values[number].param and labels.cells is None:
                ties.param_axis(number, d + shift)
            other = ties.axis(number, d + shift)
            mine = own.axes[d]
            if other is None or labels.cells is not None:
                ties.pin(cells)
                ties.pin(mine)
                ties.pin_value(number)
            elif mine is not None:
                ties.union(mine, other)
            else:
                ties.union(cells, other.reshape([-1 if e == d else 1 for e in range(cells.ndim)]))
    return cells


@dataclass(frozen=True)
class Elementwise:
    """Entry by entry: constants map through the function, channels stay what they are."""

    card: ClassVar[Card] = Card(
        name="elementwise",
        says="Activations, sums, products and comparisons: channels pass through, constants are computed.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("elementwise", "prelu")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        numbers = [i for i in node.inputs if i is not None]
        if node.kind == "prelu":
            self._tie_prelu(node, ties)
            return
        tie_elementwise(numbers, node.outputs[0], ties)

    def _tie_prelu(self, node: Node, ties: Ties) -> None:
        x, weight = node.inputs
        assert x is not None and weight is not None
        ties.labels[node.outputs[0]] = ties.labels[x]
        if ties.graph.values[weight].shape[0] > 1:
            ties.param_axis(weight, 0)
            ties.tie_axes([(x, 1), (weight, 0)])

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`; a product with a known zero is zero."""
        out = node.outputs[0]
        numbers = [i for i in node.inputs if i is not None]
        facts.tainted[out] = any(facts.is_tainted(i) for i in numbers) or facts.ranges.bursts(node)
        name = node.attributes.get("fn")
        if name is None:
            return
        if name == "identity" and numbers[0] in facts.shares:
            facts.shares.add(out)
        rank = len(facts.graph.values[out].shape)
        blank = facts.blank(numbers)
        if blank and name not in KEEPS_KNOWN:
            return
        arrays = [facts.constant(i) for i in numbers]
        if node.kind == "prelu" and arrays[1].size > 1:
            arrays[1] = arrays[1].reshape([1, -1] + [1] * (rank - 2))
        arrays = [aligned(a, rank) for a in arrays]
        result = apply(name, arrays, dict(node.attributes.get("options", {})))
        if name == "mul" and not facts.tainted[out]:
            result = np.where((arrays[0] == 0) | (arrays[1] == 0), 0.0, result)
        if not (blank and np.isnan(result).all()):  # else nothing is known, at any size
            facts.const[out] = result

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`; the other factor of a known zero is not read."""
        out = node.outputs[0]
        needed = facts.needed(out)
        if not np.count_nonzero(needed):
            return
        for number in node.inputs:
            if number is None:
                continue
            if node.kind == "prelu" and number == node.inputs[1]:
                facts.add_read(number, np.ones((1,), np.bool_))
                continue
            facts.add_read(number, needed)

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: channels only pass through."""

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: parameters shrink with their channels."""

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: not counted."""
        return 0
