# SPDX-License-Identifier: Apache-2.0
"""From an ONNX model to the channel graph. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from edgeshift.graph.channels import Array, ChannelGraph, Node, Value, join_pads
from edgeshift.graph.fronts.letters import einsum
from edgeshift.graph.onnx_model import (
    MOVES,
    Settled,
    Trial,
    array_of,
    attributes_of,
    captured,
    opset_of,
    parameter_names,
    uses_of,
)

STANDARD = ("", "ai.onnx")
UNARY = {
    "Abs": "abs", "Cos": "cos", "Erf": "erf", "Exp": "exp", "Identity": "identity", "Log": "log",
    "Mish": "mish", "Neg": "neg", "Reciprocal": "reciprocal", "Relu": "relu", "Sigmoid": "sigmoid",
    "Sin": "sin", "Softsign": "softsign", "Sqrt": "sqrt", "Tanh": "tanh",
}  # fmt: skip
BINARY = {"Add": "add", "Div": "div", "Mul": "mul", "Pow": "pow", "Sub": "sub", "PRelu": "prelu"}
VARIADIC = {"Max": "max", "Mean": "add", "Min": "min", "Sum": "add"}
# Entry by entry, but a constant may land on the other side of a jump: channels pass, constants end.
UNKNOWN_ELEMENTWISE = {
    "And", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual",
    "Mod", "Not", "Or", "Round", "Shrink", "Sign", "ThresholdedRelu", "Where", "Xor", "Acos", "Acosh",
    "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan",
}  # fmt: skip
REDUCTIONS = {"ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min", "ReduceSum": "sum"}
OTHER_REDUCTIONS = {"ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"}
SEVERAL_OUTPUTS = ("GRU", "LSTM", "RNN", "Split")
# Above this, log(1 + exp(x)) is x to the last of 16 digits.
SOFTPLUS_LINEAR = 40.0


@dataclass
class OnnxTrace:
    """The channel graph of an ONNX model, and where each of its parts is in the file.

    Attributes:
        settled: The model the graph was read from.
        trial: Every size in it.
        graph: The network.
        number: Tensor name -> value number, for tensors the graph holds.
        owner: Position of a graph's node -> position of its operator in the file.
        scaled: Value number of a weight made of stored whole numbers -> its operator and the axis of its scales.
        halves: Value number of a part of a recurrent layer's bias -> its name, direction and first entry.
        takes: Position of an operator -> positions of the nodes that pick for it, in order.
    """

    settled: Settled
    trial: Trial
    graph: ChannelGraph = field(default_factory=ChannelGraph)
    number: dict[str, int] = field(default_factory=dict)
    owner: list[int] = field(default_factory=list)
    scaled: dict[int, tuple[NodeProto, int]] = field(default_factory=dict)
    halves: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    takes: dict[int, list[int]] = field(default_factory=dict)


def trace_onnx(settled: Settled, trial: Trial) -> OnnxTrace:
    """The channel graph of a settled model that was tried out."""
    made = _Front(settled, trial).trace
    join_pads(made.graph)
    return made


class _Front:
    """Walks the operators once; one method per family."""

    def __init__(self, settled: Settled, trial: Trial) -> None:
        self.trace = OnnxTrace(settled, trial)
        self.graph = self.trace.graph
        self.shapes = trial.shapes
        self.opset = opset_of(settled.model)
        self.nodes: Sequence[NodeProto] = list(settled.model.graph.node)
        self.uses = uses_of(settled.model)
        self.parameters = parameter_names(settled)
        self.statistics = {
            n for node in self.nodes if node.op_type == "BatchNormalization" for n in node.input[3:5]
        }
        self.index, self.node = 0, NodeProto()
        self.options: dict[str, Any] = {}
        self.done: set[int] = set()
        for info in settled.model.graph.input:
            self.graph.inputs.append(self._leaf(info.name))
        for index, node in enumerate(self.nodes):
            self.index, self.node = index, node
            if index not in self.done and not self._is_static():
                self._call()
        self.graph.outputs = [self.of(o.name) for o in settled.model.graph.output]

    def _is_static(self) -> bool:
        return all(o in self.trace.trial.fixed or o in self.trace.trial.shaped for o in self.node.output if o)

    def _leaf(self, name: str) -> int:
        """A tensor nothing in the graph makes: an input, an initialiser, a number made of sizes."""
        trial, stored = self.trace.trial, self.trace.settled.tensors.get(name)
        if name in self.parameters and stored is not None:
            data = array_of(stored)
            value = Value(tuple(stored.dims), name, name, name not in self.statistics, data)
        elif stored is not None and name not in trial.fixed:
            value = Value(tuple(stored.dims), name, data=array_of(stored))
        else:
            known = trial.shaped.get(name) if name in trial.steady else trial.fixed.get(name)
            value = Value(tuple(self.shapes[name]), name, data=self._numbers(known))
        self.trace.number[name] = self.graph.add_value(value)
        return self.trace.number[name]

    @staticmethod
    def _numbers(array: Array | None) -> Array | None:
        return array if array is not None and array.dtype.kind in "fiub" else None

    def of(self, name: str) -> int:
        """Value number of a tensor."""
        return self.trace.number[name] if name in self.trace.number else self._leaf(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a tensor in the run."""
        return tuple(self.shapes[name])

    def known(self, slot: int, *, sizes: bool = True) -> Array | None:
        """Numbers of an input of this operator that follow from the file (or from sizes), or None."""
        if slot >= len(self.node.input) or not self.node.input[slot]:
            return None
        name, trial = self.node.input[slot], self.trace.trial
        if name in self.trace.settled.tensors:
            return array_of(self.trace.settled.tensors[name])
        found = trial.fixed.get(name)
        return found if found is not None or not sizes else trial.shaped.get(name)

    def given(self, slot: int) -> bool:
        """Whether this operator has that input."""
        return slot < len(self.node.input) and bool(self.node.input[slot])

    def emit(
        self,
        kind: str,
        inputs: Sequence[str | int | None],
        shape: tuple[int, ...] | None = None,
        **attributes: Any,
    ) -> int:
        """Add a node; without a shape its output is the operator's first."""
        numbers = tuple(None if i is None else i if isinstance(i, int) else self.of(i) for i in inputs)
        name = self.node.output[0]
        out = self.graph.add_value(Value(self.shape(name) if shape is None else shape, name))
        self.graph.nodes.append(
            Node(kind, numbers, (out,), attributes, self.node.op_type, self.node.name or name)
        )
        self.trace.owner.append(self.index)
        return out

    def _call(self) -> None:
        node = self.node
        self.options = {**self._defaults(), **attributes_of(node)}
        handler = getattr(self, f"_op_{node.op_type}", None) if node.domain in STANDARD else None
        result: int | None = None
        extra = any(self.uses.get(o) for o in node.output[1:] if o)  # second outputs have no rule
        if handler is not None and (not extra or node.op_type in SEVERAL_OUTPUTS):
            result = handler()
        elif node.domain in STANDARD and not extra:
            result = self._entry_by_entry()
        if result is None:
            self._opaque()
        elif result >= 0:
            self.trace.number[node.output[0]] = result

    def _defaults(self) -> dict[str, Any]:
        """Attribute name -> default, as the standard rounds it, for this operator at this opset."""
        if self.node.domain not in STANDARD or not onnx.defs.has(self.node.op_type, self.opset):
            return {}
        known = onnx.defs.get_schema(self.node.op_type, self.opset).attributes
        found = {
            k: onnx.helper.get_attribute_value(a.default_value)
            for k, a in known.items()
            if a.default_value.name
        }
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}

    def _opaque(self) -> None:
        """An operator without a rule: inputs and outputs keep their channels."""
        names = [*dict.fromkeys([i for i in self.node.input if i] + sorted(captured(self.node)))]
        inputs = tuple(self.of(n) for n in names if n in self.shapes)
        outs = []
        for name in self.node.output:
            if name:
                outs.append(self.graph.add_value(Value(self.shape(name), name)))
                self.trace.number[name] = outs[-1]
        source = (
            self.node.op_type if self.node.domain in STANDARD else f"{self.node.domain}.{self.node.op_type}"
        )
        module = self.node.name or self.node.output[0]
        self.graph.nodes.append(Node("opaque", inputs, tuple(outs), {}, source, module))
        self.trace.owner.append(self.index)

    # Entry by entry.

    def _entry_by_entry(self) -> int | None:
        op, inputs = self.node.op_type, list(self.node.input)
        exact = self.trace.trial.kinds.get(self.node.output[0]) == "f"  # whole numbers round their quotients
        if op in UNARY:
            return self._map(UNARY[op] if exact or op == "Identity" else None)
        if op in BINARY:
            operands = [self._softened(i) for i in inputs] if op == "Add" else inputs
            return self.emit("elementwise", operands, fn=BINARY[op] if exact else None)
        if op in VARIADIC:
            return self._fold(VARIADIC[op] if exact else None)
        if op in UNKNOWN_ELEMENTWISE:
            return self.emit("elementwise", [self._softened(i) if op == "Where" else i for i in inputs if i])
        if op in REDUCTIONS or op in OTHER_REDUCTIONS:
            return self._reduce(REDUCTIONS.get(op, "other"))
        return None

    def _softened(self, name: str) -> str | int:
        """An operand; a mask of minus infinities before a softmax, which makes zeros of them, is unknown."""
        after = self.uses.get(self.node.output[0], [])
        masks = bool(after) and all(i >= 0 and self.nodes[i].op_type == "Softmax" for i, _ in after)
        stored = self.trace.settled.tensors.get(name)
        data = self.trace.trial.fixed.get(name) if stored is None else array_of(stored)
        if (
            not masks
            or data is None
            or data.dtype.kind != "f"
            or np.isnan(data).any()
            or data.max(initial=0) == np.inf
        ):
            return name
        return name if np.isfinite(data).all() else self.graph.add_value(Value(self.shape(name), name))

    def _map(self, fn: str | None, **options: Any) -> int:
        return self.emit("elementwise", [self.node.input[0]], fn=fn, options=options)

    def _fold(self, fn: str | None) -> int:
        """An operator over any number of inputs as a chain of two at a time."""
        at: str | int = self.node.input[0]
        so_far = self.shape(self.node.input[0])
        extra = {"fn": fn} if fn else {}
        for name in self.node.input[1:]:
            so_far = tuple(np.broadcast_shapes(so_far, self.shape(name)))
            at = self.emit("elementwise", [at, name], so_far, **extra)
        if self.node.op_type == "Mean":
            at = self.emit("elementwise", [at, self._literal(1 / len(self.node.input))], so_far, fn="mul")
        return at if isinstance(at, int) else self._map("identity")

    def _literal(self, number: float) -> int:
        return self.graph.add_value(Value((), "literal", data=np.asarray(number, np.float64)))

    def _op_Clip(self) -> int | None:
        limits = []
        for slot in (1, 2):
            number = self.known(slot, sizes=False)
            if self.given(slot) and (number is None or number.size != 1):
                return self.emit("elementwise", [i for i in self.node.input if i])
            limits.append(None if number is None else float(number.reshape(())))
        return self._map("clip", low=limits[0], high=limits[1])

    def _op_HardSigmoid(self) -> int:
        return self._map("hardsigmoid", alpha=float(self.options["alpha"]), beta=float(self.options["beta"]))

    def _op_HardSwish(self) -> int:
        return self._map("hardswish")

    def _op_Swish(self) -> int:
        return self._map("silu" if self.options["alpha"] == 1.0 else None)

    def _op_LeakyRelu(self) -> int:
        return self._map("leaky_relu", slope=float(self.options["alpha"]))

    def _op_Elu(self) -> int:
        return self._map("elu", alpha=float(self.options["alpha"]))

    def _op_Selu(self) -> int:
        return self._map("elu", alpha=float(self.options["alpha"]), scale=float(self.options["gamma"]))

    def _op_Celu(self) -> int:
        alpha = float(self.options["alpha"])
        return self._map("elu", alpha=alpha, input_scale=1 / alpha)

    def _op_Gelu(self) -> int:
        return self._map("gelu", approximate=self.options["approximate"])

    def _op_Softplus(self) -> int:
        return self._map("softplus", threshold=SOFTPLUS_LINEAR)

    def _op_Dropout(self) -> int | None:
        training = self.known(2, sizes=False)
        if self.given(2) and (training is None or bool(training.any())):
            return None
        return self._map("identity")

    def _op_Cast(self) -> int:
        source, target = (self.trace.trial.kinds[n] for n in (self.node.input[0], self.node.output[0]))
        narrow = {10, 16, 17, 18, 19, 20}  # float16, bfloat16 and 8-bit floats round what they take
        kept = target == "f" and self.options["to"] not in narrow and source in "fiub"
        return self._map("identity" if kept else None)

    def _op_CastLike(self) -> int:
        """Of the second input only the type counts, which may be narrow."""
        return self._map(None)

    # Quantised numbers.

    def _op_QuantizeLinear(self) -> int | None:
        steps, zero = self._steps(), self.known(2, sizes=False)
        kind = np.dtype(np.uint8) if zero is None else zero.dtype
        if steps is None or kind.kind not in "iu" or self.options.get("output_dtype"):
            return None
        bounds = np.iinfo(kind)
        return self._map("quantize", low=float(bounds.min), high=float(bounds.max), **steps)

    def _op_DequantizeLinear(self) -> int | None:
        if self.node.input[0] in self.parameters:
            return self._scaled()
        steps = self._steps()
        return None if steps is None else self._map("dequantize", **steps)

    def _steps(self) -> dict[str, float] | None:
        """Scale and zero point, where there is one of each and the file knows them."""
        scale, zero = self.known(1, sizes=False), self.known(2, sizes=False)
        if scale is None or scale.size != 1 or (self.given(2) and (zero is None or zero.size != 1)):
            return None
        return {
            "scale": float(scale.reshape(())),
            "zero": 0.0 if zero is None else float(zero.reshape(())),
        }

    def _scaled(self) -> int:
        """A weight or bias that is stored as whole numbers, as the floats that it stands for."""
        name, tensors = self.node.input[0], self.trace.settled.tensors
        whole = array_of(tensors[name]).astype(np.float64)
        axis = int(self.options.get("axis", 1)) % whole.ndim
        shape = [-1 if d == axis else 1 for d in range(whole.ndim)]
        if self.given(2):
            whole = whole - array_of(tensors[self.node.input[2]]).reshape(shape)
        floats = whole * array_of(tensors[self.node.input[1]]).reshape(shape)
        value = Value(whole.shape, self.node.output[0], name, True, floats, sealed=True)
        number = self.graph.add_value(value)
        self.trace.scaled[number] = (self.node, axis)
        return number

    # Weighted sums.

    def _can_bias(self, slot: int) -> bool:
        """Whether there is a bias that can be changed, or none, so that one can be given.

        Not to a quantised weight: a runtime computes those in whole numbers with a quantised bias or with none.
        """
        return self._is_vector(self.node.input[slot]) if self.given(slot) else not self._is_sealed()

    def _is_sealed(self) -> bool:
        """Whether this operator's weight is made of stored whole numbers."""
        number = self.trace.number.get(self.node.input[1])
        return number is not None and self.graph.values[number].sealed

    def _is_vector(self, name: str) -> bool:
        return name in self.parameters and len(self.shape(name)) == 1

    def _optional(self, slot: int) -> str | None:
        return self.node.input[slot] if self.given(slot) else None

    def _op_Conv(self) -> int:
        rank = len(self.shape(self.node.input[0])) - 2
        kernel = self.shape(self.node.input[1])[2:]
        auto = self.options["auto_pad"]
        if auto == "NOTSET":
            padded = any(int(p) > 0 for p in self.options.get("pads", ()))
        else:
            padded = auto != "VALID" and any(k > 1 for k in kernel)
        return self._conv(rank, transposed=False, padded=padded)

    def _op_ConvTranspose(self) -> int:
        kernel = self.shape(self.node.input[1])[2:]
        stretched = any(int(s) > 1 for s in self.options.get("strides", ()))
        moved = any(int(p) > 0 for key in ("pads", "output_padding") for p in self.options.get(key, ()))
        even = (
            all(k == 1 for k in kernel) and not stretched and not moved and "output_shape" not in self.options
        )
        return self._conv(len(kernel), transposed=True, padded=not even)

    def _conv(self, rank: int, *, transposed: bool, padded: bool) -> int:
        inputs = [self.node.input[0], self.node.input[1], self._optional(2)]
        return self.emit(
            "conv", inputs, groups=int(self.options["group"]), transposed=transposed, padded=padded,
            rank=rank, can_bias=self._can_bias(2),
        )  # fmt: skip

    def _op_Gemm(self) -> int | None:
        a, b = self.node.input[:2]
        alpha, beta = float(self.options["alpha"]), float(self.options["beta"])
        w_out = 0 if self.options["transB"] else 1
        x: str | int = a
        if self.options["transA"]:
            x = self.emit("permute", [a], self.shape(a)[::-1], order=(1, 0))
        if not self._is_weight(b):
            right: str | int = b if w_out else self.emit("permute", [b], self.shape(b)[::-1], order=(1, 0))
            at = self.emit("matmul", [x, right])
        elif alpha == beta == 1.0 and self._can_bias(2):
            return self.emit("linear", [x, b, self._optional(2)], w_out=w_out, can_bias=True)
        else:
            at = self.emit("linear", [x, b, None], w_out=w_out, can_bias=False)
        if alpha != 1.0:
            at = self.emit("elementwise", [at, self._literal(alpha)], fn="mul")
        if not self.given(2) or beta == 0.0:
            return at
        c: str | int = self.node.input[2]
        if beta != 1.0:
            c = self.emit("elementwise", [c, self._literal(beta)], self.shape(self.node.input[2]), fn="mul")
        return self.emit("elementwise", [at, c], fn="add")

    def _op_MatMul(self) -> int | None:
        a, b = self.node.input
        if len(self.shape(a)) < 2 or len(self.shape(b)) < 2:
            return None
        if len(self.shape(b)) != 2 or not self._is_weight(b):
            return self.emit("matmul", [a, b])
        place = self._bias_after()
        if place is None:
            return self.emit("linear", [a, b, None], w_out=1, can_bias=not self._is_sealed())
        add = self.nodes[place]
        bias = next(n for n in add.input if n != self.node.output[0])
        out = self.emit("linear", [a, b, bias], w_out=1, can_bias=True)
        self.trace.number[add.output[0]] = out
        self.done.add(place)
        return -1

    def _is_weight(self, name: str) -> bool:
        """Whether a tensor is a parameter or a moved one."""
        if name in self.parameters or self.trace.number.get(name) in self.trace.scaled:
            return True
        for node in self.nodes[: self.index]:
            if name in node.output:
                return node.op_type in ("Transpose", "Identity") and self._is_weight(node.input[0])
        return False

    def _bias_after(self) -> int | None:
        """Position of an Add of a vector of the right length that is all that reads this operator."""
        places = self.uses.get(self.node.output[0], [])
        if len(places) != 1 or places[0][1] < 0:
            return None
        index, slot = places[0]
        node = self.nodes[index]
        if node.op_type != "Add" or node.domain not in STANDARD:
            return None
        bias = node.input[1 - slot]
        fits = self._is_vector(bias) and self.shape(bias) == self.shape(self.node.output[0])[-1:]
        return index if fits else None

    # Recurrence.

    def _recurrent(self, cell: str, gates: int) -> int | None:
        """One node per direction; directions stand side by side and have equally many units."""
        x, w, r = self.node.input[:3]
        states = [n for n in self.node.input[5:7] if n]
        own = {a.name for a in self.node.attribute}
        plain = not {"activations", "clip"} & own and not self.options.get("layout")
        known = w in self.parameters and r in self.parameters and not self.given(4) and not self.given(7)
        bias = self._optional(3)
        if not plain or not known or not all(map(self._is_zero, states)):
            return None
        if bias is not None and bias not in self.parameters:
            return None
        time, units = self.shape(x)[:2], self.shape(r)[2]
        own_bias = bias is not None and len(self.uses[bias]) == 1
        outs, lasts = [], []
        for k in range(self.shape(r)[0]):
            parts: list[int | None] = [self._side(n, k, (1, 2)) for n in (w, r)]
            for half in range(2):
                parts.append(None if bias is None else self._half(bias, k, half, gates * units))
            at = self.emit(
                "recurrent",
                [x, *parts],
                (*time, units),
                cell=cell,
                own_state=True,
                can_bias=own_bias,
                parts=True,
            )
            outs.append(self.emit("reshape", [at], (time[0], 1, time[1], units)))
            lasts.append(self.emit("last_state", [at], (1, time[1], units)))
        full = (time[0], len(outs), time[1], units)
        joined = [
            self.emit("cat", outs, full, axis=1),
            self.emit("cat", lasts, (len(outs), time[1], units), axis=0),
        ]
        for name, number in zip(self.node.output, [*joined, joined[-1]], strict=False):
            if name:
                self.trace.number[name] = number
        return -1

    def _side(self, name: str, direction: int, cuts: tuple[int, ...]) -> int:
        """One direction's part of a parameter."""
        shape = self.shape(name)
        part = self.emit("take", [name], (1, *shape[1:]), axis=0, index=(direction,), part=None, cuts=cuts)
        return self.emit("reshape", [part], shape[1:])

    def _half(self, bias: str, direction: int, half: int, size: int) -> int:
        """One direction's bias of the input, or of the state."""
        whole = self._side(bias, direction, (1,))
        index = tuple(range(half * size, (half + 1) * size))
        part = self.emit("take", [whole], (size,), axis=0, index=index, part=None, free=True)
        self.trace.halves[part] = (bias, direction, half * size)
        return part

    def _is_zero(self, name: str) -> bool:
        """Whether a tensor is zero at any size: stored so, or made so."""
        if name in self.trace.settled.tensors:
            return not array_of(self.trace.settled.tensors[name]).any()
        maker = next((n for n in self.nodes if name in n.output), None)
        if maker is None:
            return False
        if maker.op_type == "ConstantOfShape":
            return not any(array_of(a.t).any() for a in maker.attribute)
        moves = (*MOVES, "Cast", "Expand", "Slice", "Tile")
        return maker.op_type in moves and self._is_zero(maker.input[0])

    def _op_GRU(self) -> int | None:
        return self._recurrent("gru", 3)

    def _op_LSTM(self) -> int | None:
        return self._recurrent("onnx_lstm", 4)

    def _op_RNN(self) -> int | None:
        return self._recurrent("rnn", 1)

    # Normalisation.

    def _op_BatchNormalization(self) -> int | None:
        if self.options.get("training_mode", 0):
            return None
        return self.emit("affine", list(self.node.input[:5]), eps=float(self.options["epsilon"]))

    def _op_InstanceNormalization(self) -> int:
        return self.emit("instance_norm", list(self.node.input))

    def _op_GroupNormalization(self) -> int | None:
        if (
            self.shape(self.node.input[1]) != self.shape(self.node.input[0])[1:2]
        ):  # before opset 21: one per group
            return None
        return self.emit("group_norm", list(self.node.input), groups=int(self.options["num_groups"]))

    def _op_LayerNormalization(self) -> int | None:
        shape = self.shape(self.node.input[0])
        axes = tuple(range(int(self.options["axis"]) % len(shape), len(shape)))
        covered = tuple(shape[a] for a in axes)
        if any(self.shape(n) != covered for n in self.node.input[1:] if n):
            return None
        rest = [self._optional(slot) for slot in range(1, len(self.node.input))]
        return self.emit("mix_norm", [self.node.input[0], *rest], axes=axes)

    _op_RMSNormalization = _op_LayerNormalization

    # Moving entries.

    def _op_Reshape(self) -> int:
        return self.emit("reshape", [self.node.input[0]])

    _op_Flatten = _op_Squeeze = _op_Unsqueeze = _op_Reshape

    def _op_Transpose(self) -> int:
        rank = len(self.shape(self.node.input[0]))
        return self.emit(
            "permute", [self.node.input[0]], order=tuple(self.options.get("perm", range(rank)[::-1]))
        )

    def _op_Concat(self) -> int:
        rank = len(self.shape(self.node.output[0]))
        return self.emit("cat", list(self.node.input), axis=int(self.options["axis"]) % rank)

    def _take(self, x: str | int, axis: int, index: Sequence[int], *, free: bool) -> int:
        """Pick positions along an axis; `free` where the file's own numbers may follow what is cut."""
        shape = self.shape(x) if isinstance(x, str) else self.graph.shape(x)
        size = (*shape[:axis], len(index), *shape[axis + 1 :])
        out = self.emit(
            "take", [x], size, axis=axis, index=tuple(int(i) for i in index), part=None, free=free
        )
        self.trace.takes.setdefault(self.index, []).append(len(self.graph.nodes) - 1)
        return out

    def _op_Slice(self) -> int | None:
        starts, ends, axes, steps = (self.known(slot) for slot in (1, 2, 3, 4))
        lost = (given and k is None for k, given in zip((axes, steps), map(self.given, (3, 4)), strict=True))
        if starts is None or ends is None or any(lost):
            return None
        shape = self.shape(self.node.input[0])
        along = range(len(starts)) if axes is None else [int(a) % len(shape) for a in axes]
        at: int | str = self.node.input[0]
        for k, axis in enumerate(along):
            step = 1 if steps is None else int(steps[k])
            index = range(shape[axis])[slice(int(starts[k]), int(ends[k]), step)]
            at = self._take(at, axis, index, free=step == 1)
        return at if isinstance(at, int) else None

    def _op_Split(self) -> int | None:
        x = self.node.input[0]
        axis = int(self.options["axis"]) % len(self.shape(x))
        if self.given(1) and self.known(1) is None:
            return None
        start = 0
        for name in self.node.output:
            size = self.shape(name)[axis]
            self.trace.number[name] = self._take(x, axis, range(start, start + size), free=True)
            start += size
        return -1

    def _op_Gather(self) -> int | None:
        x, index_name = self.node.input
        shape = self.shape(x)
        axis = int(self.options["axis"]) % len(shape)
        index = self.known(1)
        if index is None:
            if axis == 0 and len(shape) == 2 and x in self.parameters:
                return self.emit("embedding", [x, index_name])
            return None
        own = index_name in self.trace.settled.tensors
        taken = self._take(x, axis, [int(i) % shape[axis] for i in index.ravel()], free=own)
        return taken if index.ndim == 1 else self.emit("reshape", [taken])

    def _op_Pad(self) -> int | None:
        pads, axes = self.known(1), self.known(3)
        if pads is None or (self.given(3) and axes is None):
            return None
        rank = len(self.shape(self.node.input[0]))
        along = range(rank) if axes is None else [int(a) % rank for a in axes]
        before, after = [0] * rank, [0] * rank
        for k, axis in enumerate(along):
            before[axis], after[axis] = int(pads[k]), int(pads[k + len(along)])
        value = self.known(2, sizes=False)
        if self.given(2) and value is None:
            return None
        filler = None
        if self.options["mode"] == "constant":
            filler = 0.0 if value is None else float(value.reshape(()))
            filler = filler if math.isfinite(filler) else math.nan
        return self.emit("pad", [self.node.input[0]], before=tuple(before), after=tuple(after), value=filler)

    def _op_Tile(self) -> int | None:
        times = self.known(1)
        if times is None:
            return None
        shape = self.shape(self.node.input[0])
        at = self.of(self.node.input[0])
        for axis, count in enumerate(times.tolist()):
            index = tuple(range(shape[axis])) * count
            shape = (*shape[:axis], len(index), *shape[axis + 1 :])
            if count != 1:  # nothing in the file names positions: they follow by themselves
                at = self.emit("take", [at], shape, axis=axis, index=index, part=None, free=True)
        return at

    def _op_Einsum(self) -> int | None:
        return einsum(self, str(self.options["equation"]), [self.of(n) for n in self.node.input])

    def _op_Expand(self) -> int | None:
        return None if self.known(1) is None else self.emit("expand", [self.node.input[0]])

    def _op_DepthToSpace(self) -> int:
        x: str | int = self.node.input[0]
        factor = int(self.options["blocksize"])
        if self.options["mode"] == "DCR":  # blocks of channels stand one behind the other
            channels = np.arange(self.shape(self.node.input[0])[1]).reshape(factor**2, -1)
            x = self._take(x, 1, [int(i) for i in channels.T.ravel()], free=True)
        return self.emit("pixel_shuffle", [x], factor=factor)

    def _op_SpaceToDepth(self) -> int:
        factor = int(self.options["blocksize"])
        out = self.shape(self.node.output[0])
        spread = self.emit("pixel_unshuffle", [self.node.input[0]], out, factor=factor)
        return self._take(
            spread, 1, [int(i) for i in np.arange(out[1]).reshape(-1, factor**2).T.ravel()], free=True
        )

    # Over space, and reductions.

    def _pool(self, keeps: str = "any") -> int:
        rank = len(self.shape(self.node.input[0])) - 2
        return self.emit("pool", [self.node.input[0]], rank=rank, keeps=keeps)

    def _op_MaxPool(self) -> int:
        return self._pool()

    _op_GlobalAveragePool = _op_GlobalMaxPool = _op_MaxPool

    def _op_AveragePool(self) -> int:
        inside = not self.options["count_include_pad"]
        unpadded = not any(self.options.get("pads", ())) and self.options["auto_pad"] in ("NOTSET", "VALID")
        plain = (inside or unpadded) and not self.options["ceil_mode"]
        return self._pool("any" if plain else "zero")

    def _op_LpPool(self) -> int:
        return self._pool("zero")

    def _op_GlobalLpPool(self) -> int:
        return self._pool("zero")

    def _op_Resize(self) -> int | None:
        x, out = self.shape(self.node.input[0]), self.shape(self.node.output[0])
        if (
            x[:2] != out[:2]
            or len(x) < 3
            or self.options.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        ):
            return None
        return self._pool()

    _op_Upsample = _op_Resize

    def _reduce(self, fn: str) -> int | None:
        rank = len(self.shape(self.node.input[0]))
        axes = self.options.get("axes")
        if axes is None and self.given(1):
            listed = self.known(1)
            if listed is None:
                return None
            axes = [int(a) for a in listed]
        if not axes and self.options.get("noop_with_empty_axes", 0):
            return None
        picked = tuple(sorted(int(a) % rank for a in axes)) if axes else tuple(range(rank))
        return self.emit(
            "reduce", [self.node.input[0]], fn=fn, axes=picked, keepdim=bool(self.options["keepdims"])
        )

    def _op_ReduceLogSum(self) -> int | None:
        total = self._reduce("sum")
        return None if total is None else self.emit("elementwise", [total], fn="log")

    def _op_ArgMax(self) -> int:
        rank = len(self.shape(self.node.input[0]))
        axes = (int(self.options["axis"]) % rank,)
        keep = bool(self.options["keepdims"])
        return self.emit("reduce", [self.node.input[0]], fn="other", axes=axes, keepdim=keep)

    _op_ArgMin = _op_ArgMax

    def _softmax(self, *, sums: bool) -> int | None:
        shape = self.shape(self.node.input[0])
        axis = int(self.options["axis"]) % len(shape)
        if self.opset < 13 and math.prod(shape[axis + 1 :]) != 1:  # there, all later axes were one with it
            return None
        return self.emit("softmax", [self.node.input[0]], axis=axis, sums=sums)

    def _op_Softmax(self) -> int | None:
        return self._softmax(sums=True)

    def _op_LogSoftmax(self) -> int | None:
        return self._softmax(sums=False)

    def _op_LpNormalization(self) -> int:
        axis = int(self.options["axis"]) % len(self.shape(self.node.input[0]))
        return self.emit("softmax", [self.node.input[0]], axis=axis, sums=False)
