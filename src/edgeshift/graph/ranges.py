# SPDX-License-Identifier: Apache-2.0
"""Bounds on what a tensor can hold, asked where a function may leave the finite numbers, as 1 / x does."""

import math
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np

from edgeshift.graph.channels import ChannelGraph, Node

Range = tuple[float, float]
ALL: Range = (-math.inf, math.inf)
# exp(88.7) is the largest that float32 holds.
LARGEST_EXPONENT = 88.0
FIXED: dict[str, Range] = {
    "abs": (0, math.inf), "cos": (-1, 1), "erf": (-1, 1), "hardsigmoid": (0, 1), "sigmoid": (0, 1),
    "sin": (-1, 1), "softplus": (0, math.inf), "softsign": (-1, 1), "square": (0, math.inf), "tanh": (-1, 1),
}  # fmt: skip
# Operators without a rule of which this much is known, by the start of their name.
NOT_NEGATIVE = ("aten.var", "aten.std", "aten.norm", "aten.linalg_vector_norm", "ReduceL", "ReduceSumSquare")
# Operators that can make NaN or infinity out of finite numbers, by the start of their name.
MAY_BURST = (
    "acos", "arccos", "arccosh", "arcsin", "arctanh", "asin", "atanh", "digamma", "div", "expm1",
    "floor_divide", "fmod", "lgamma", "linalg_inv", "linalg_solve", "log", "mod", "pow", "remainder", "special",
    "tan.", "true_divide", "xlogy",
)  # fmt: skip

# Functions with a rule that can.
BURSTS = {"div", "exp", "log", "pow", "reciprocal", "rsqrt", "sqrt"}


def _corners(f: Callable[[float, float], float], a: Range, b: Range) -> Range:
    """Range of a function that is monotone in each argument; infinity times zero counts as zero."""
    values = [0.0 if math.isnan(f(x, y)) else f(x, y) for x, y in product(a, b)]
    return min(values), max(values)


class Ranges:
    """Bounds of values, found by walking back through the operators that made them."""

    def __init__(self, graph: ChannelGraph) -> None:
        self.graph = graph
        self.makers = graph.makers
        self.known: dict[int, Range] = {}

    def of(self, number: int) -> Range:
        """Lowest and highest that a value can hold; infinite where nothing is known."""
        if number not in self.known:
            self.known[number] = ALL  # what a cycle would find; graphs have none
            data = self.graph.values[number].data
            if data is not None and data.size and np.isfinite(data).all():
                self.known[number] = float(data.min()), float(data.max())
            elif data is None and number in self.makers:
                self.known[number] = self._made(self.makers[number])
        return self.known[number]

    def _made(self, node: Node) -> Range:
        inputs = [i for i in node.inputs if i is not None]
        if node.kind == "elementwise" and node.attributes.get("fn"):
            return self._function(str(node.attributes["fn"]), inputs, node.attributes.get("options", {}))
        if node.kind in ("permute", "reshape", "take", "expand"):
            return self.of(inputs[0])
        if node.kind == "reduce":
            low, high = self.of(inputs[0])
            if node.attributes["fn"] == "sum":
                return (0.0 if low >= 0 else -math.inf), (0.0 if high <= 0 else math.inf)
            if node.attributes["fn"] in ("mean", "max", "min"):
                return low, high
            return (0.0, math.inf) if node.source.startswith(NOT_NEGATIVE) else ALL
        if node.kind == "softmax":
            return (0.0, 1.0) if node.attributes.get("sums") else (-math.inf, 0.0)
        if node.kind == "opaque" and node.source.startswith(NOT_NEGATIVE):
            return 0.0, math.inf
        return ALL

    def _function(self, name: str, inputs: list[int], options: Mapping[str, float | None]) -> Range:
        if name in FIXED:
            return FIXED[name]
        ranges = [self.of(i) for i in inputs]
        low, high = ranges[0]
        if name == "clip":
            floor, roof = options.get("low"), options.get("high")
            return (low if floor is None else max(low, floor)), (high if roof is None else min(high, roof))
        if name == "mul" and inputs[0] == inputs[1]:
            return 0.0, math.inf
        if name == "pow":
            power = self._exponent(inputs[1])
            return (0.0, math.inf) if low >= 0 or power % 2 == 0 else ALL
        if name == "sub" and self._is_largest_of(inputs[1], inputs[0]):
            return -math.inf, 0.0
        tables: dict[str, Callable[[], Range]] = {
            "relu": lambda: (max(low, 0.0), max(high, 0.0)),
            "identity": lambda: (low, high),
            "neg": lambda: (-high, -low),
            "exp": lambda: (0.0, math.exp(high) if high < LARGEST_EXPONENT else math.inf),
            "sqrt": lambda: (math.sqrt(max(low, 0.0)), math.sqrt(max(high, 0.0))),
            "add": lambda: (low + ranges[1][0], high + ranges[1][1]),
            "sub": lambda: (low - ranges[1][1], high - ranges[1][0]),
            "mul": lambda: _corners(lambda x, y: x * y, ranges[0], ranges[1]),
            "max": lambda: (max(low, ranges[1][0]), max(high, ranges[1][1])),
            "min": lambda: (min(low, ranges[1][0]), min(high, ranges[1][1])),
        }
        return tables[name]() if name in tables else ALL

    def _exponent(self, number: int) -> float:
        """The one exponent of a power; NaN if it is no literal."""
        data = self.graph.values[number].data
        return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else math.nan

    def _is_largest_of(self, number: int, whole: int) -> bool:
        """Whether a value is the maximum over some axes of another."""
        node = self.makers.get(number)
        return node is not None and node.attributes.get("fn") == "max" and node.inputs == (whole,)

    def bursts(self, node: Node) -> bool:
        """Whether an operator may make NaN or infinity out of finite inputs, sums that overflow aside."""
        name = str(node.attributes.get("fn") or "")
        if name and name not in BURSTS:
            return False
        if not name:
            source = node.source.removeprefix("aten.").lower()
            return source.startswith(MAY_BURST) and not source.startswith("logical")
        inputs = [i for i in node.inputs if i is not None]
        low, high = self.of(inputs[-1] if name == "div" else inputs[0])
        if name in ("div", "reciprocal"):
            return low <= 0 <= high
        if name in ("log", "rsqrt"):
            return low <= 0
        if name == "sqrt":
            return low < 0
        if name == "exp":
            return high > LARGEST_EXPONENT
        if name == "pow":
            power = self._exponent(inputs[1])
            if not math.isfinite(power) or low > 0:
                return not math.isfinite(power)
            return power < 0 or (power != int(power) and low < 0)
        return False
