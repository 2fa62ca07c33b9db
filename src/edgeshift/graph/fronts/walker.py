# SPDX-License-Identifier: Apache-2.0
"""Walks a traced program once and builds the channel graph; handlers of single operators lie in `aten`."""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from edgeshift.core.errors import BadWeights
from edgeshift.graph.channels import ChannelGraph, Node, Value, join_pads
from edgeshift.graph.fronts.record import Look, Recording, Step
from edgeshift.graph.modules import named_modules, parameters_then_buffers

# A call and a tensor, in torch.export's form and in that of a recording.
CALLS = (torch.fx.Node, Step)
TENSORS = (torch.Tensor, Look)
Call = torch.fx.Node | Step
# A literal tensor larger than this is left unknown rather than computed.
LITERAL_LIMIT = 1 << 22

UNARY = {
    "abs": "abs",
    "alias": "identity",
    "clone": "identity",
    "contiguous": "identity",
    "cos": "cos",
    "detach": "identity",
    "detach_": "identity",
    "erf": "erf",
    "exp": "exp",
    "hardsigmoid": "hardsigmoid",
    "hardsigmoid_": "hardsigmoid",
    "hardswish": "hardswish",
    "hardswish_": "hardswish",
    "lift_fresh_copy": "identity",
    "log": "log",
    "log_sigmoid": "logsigmoid",
    "mish": "mish",
    "mish_": "mish",
    "neg": "neg",
    "reciprocal": "reciprocal",
    "relu": "relu",
    "relu_": "relu",
    "rsqrt": "rsqrt",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "silu": "silu",
    "silu_": "silu",
    "sin": "sin",
    "sqrt": "sqrt",
    "square": "square",
    "tanh": "tanh",
    "tanh_": "tanh",
}
BINARY = {
    "add": "add",
    "add_": "add",
    "div": "div",
    "div_": "div",
    "maximum": "max",
    "minimum": "min",
    "mul": "mul",
    "mul_": "mul",
    "pow": "pow",
    "sub": "sub",
    "sub_": "sub",
}
# Entry by entry, but a constant may land on the other side of a jump: channels pass, constants are not
# followed.
UNKNOWN_ELEMENTWISE = {
    "atan2",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "ceil",
    "eq",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "ge",
    "gt",
    "hardshrink",
    "isinf",
    "isnan",
    "le",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "lt",
    "masked_fill",
    "masked_fill_",
    "ne",
    "remainder",
    "round",
    "rsub",
    "sgn",
    "sign",
    "softshrink",
    "threshold",
    "trunc",
    "where",
}


def user_place(node: Call) -> str:
    """The innermost "file.py:12" of user code in a node's stack trace."""
    if isinstance(node, Step):
        return node.line
    lines = [
        x.strip() for x in str(node.meta.get("stack_trace", "")).splitlines() if x.strip().startswith("File ")
    ]
    for text in reversed(lines):
        if "/torch/" in text:
            continue
        file, _, rest = text[6:].partition('", line ')
        return f"{Path(file).name}:{rest.split(',')[0]}"
    return ""


def module_of(node: Call) -> str:
    """Dotted name of the module that ran a node, empty at the top."""
    if isinstance(node, Step):
        return node.module
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


class Number(int):
    """The number of a value, as against a number in the user's code."""


# What a handler makes of an operator: a value, or None where it filled `pieces` or leaves it to the report.
Handler = Callable[..., Number | None]


class Walker:
    """Walks a traced program once; one method per family of ATen operators."""

    def __init__(self, model: nn.Module, handlers: Mapping[str, Handler]) -> None:
        self.model = model
        self.handlers = handlers
        self.graph = ChannelGraph()
        self.number: dict[str, Number] = {}
        self.pieces: dict[str, list[Callable[[], Number]]] = {}
        self.node: Call
        inside = named_modules(model, again=True)
        self.tensors = dict(parameters_then_buffers(inside))
        self.first = {
            id(t): n for n, t in reversed(self.tensors.items())
        }  # a shared tensor has several names
        self.params: dict[str, Number] = {}
        self.modules = dict(inside)

    def exported(self, program: torch.export.ExportedProgram) -> ChannelGraph:
        """The graph of what torch.export gave."""
        signature = program.graph_signature
        for node in program.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                name = signature.inputs_to_parameters.get(node.name) or signature.inputs_to_buffers.get(
                    node.name
                )
                literal = signature.inputs_to_lifted_tensor_constants.get(node.name)
                if name is None and literal is None:
                    self.input(node)
                else:
                    known = name is not None and name in self.tensors
                    tensor = self.tensors[name or ""] if known else program.constants[literal or name or ""]
                    self.given(node, tensor, name, literal or "")
            elif node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                flat = [a for a in node.args[0] if isinstance(a, torch.fx.Node)]
                self.graph.outputs = [self.of(a) for a in flat]
        return join_pads(self.graph)

    def recorded(self, recording: Recording) -> ChannelGraph:
        """The graph of one recorded run."""
        for step in recording.steps:
            self.node = step
            if step.op != "placeholder":
                self.call(step)
            elif step.tensor is None:
                self.input(step)
            else:
                name = step.name if step.name in self.tensors else None
                self.given(step, step.tensor, name, step.name)
        self.graph.outputs = [self.of(s) for s in recording.outputs]
        return join_pads(self.graph)

    def given(self, node: Call, tensor: torch.Tensor, name: str | None, literal: str) -> None:
        """A parameter, a buffer, or a literal tensor of the user's code, which has no name of its own."""
        name = self.first.get(id(tensor), name)
        if name in self.params:
            self.number[node.name] = self.params[name]
            return
        data = as_numpy(tensor)
        trained = isinstance(tensor, nn.Parameter)
        value = Value(data.shape, name or literal, name or "", trained, data)
        self.number[node.name] = Number(self.graph.add_value(value))
        if name is not None:
            self.params[name] = self.number[node.name]

    def input(self, node: Call) -> None:
        """An input of the network."""
        given = node.meta.get("val")
        shape = tuple(map(int, given.shape)) if isinstance(given, TENSORS) else ()
        self.number[node.name] = Number(self.graph.add_value(Value(shape, node.name)))
        if isinstance(given, TENSORS):
            self.graph.inputs.append(self.number[node.name])

    def of(self, argument: Any) -> Number:
        """Value number of an argument; a plain number becomes a literal."""
        if isinstance(argument, Number):
            return argument
        if isinstance(argument, CALLS):
            return self.number[argument.name]
        return Number(self.graph.add_value(Value((), "literal", data=np.asarray(float(argument)))))

    def shape(self, argument: Any) -> tuple[int, ...]:
        """Shape of an fx node, or of the value of that number."""
        return self.graph.values[argument if isinstance(argument, int) else self.of(argument)].shape

    def emit(
        self, kind: str, inputs: list[Any], shape: tuple[int, ...] | None = None, **attributes: Any
    ) -> Number:
        """Add a node; without a shape its output is this fx node's own."""
        numbers = tuple(None if i is None else self.of(i) for i in inputs)
        if shape is None:
            value = self.node.meta["val"]
            shape = tuple(int(s) for s in value.shape)
        out = Number(self.graph.add_value(Value(shape, self.node.name)))
        self.graph.nodes.append(
            Node(kind, numbers, (out,), attributes, str(self.node.target), self.module, user_place(self.node))
        )
        return out

    def keeps(self, number: int) -> bool:
        """Whether a value is a buffer that a saved model holds."""
        owner, _, leaf = self.graph.values[number].param.rpartition(".")
        if not leaf or self.graph.values[number].trained or owner not in self.modules:
            return False
        return leaf not in self.modules[owner]._non_persistent_buffers_set

    def take(
        self,
        x: Any,
        axis: int,
        index: Any,
        part: tuple[int, int] | None = None,
        *,
        spelled: bool = False,
        **options: Any,
    ) -> Number:
        """Add a node that picks positions along an axis; see the rule `layout` for what it may be told."""
        shape = self.shape(x)
        axis %= len(shape)
        size = (*shape[:axis], len(index), *shape[axis + 1 :])
        picked = tuple(int(i) for i in index)
        return self.emit(
            "take",
            [x],
            size,
            axis=axis,
            index=picked,
            part=part,
            spelled=(axis,) if spelled else (),
            **options,
        )

    @property
    def module(self) -> str:
        """Dotted name of the module that runs the node in hand."""
        return module_of(self.node)

    def call(self, node: Call) -> None:
        if node.target is operator.getitem:
            source, index = cast(tuple[Call, int], node.args)
            if not node.users:  # such as the final state that most recurrent networks throw away
                return
            if source.name in self.pieces:
                self.number[node.name] = self.pieces[source.name][index]()
            return
        name = getattr(node.target, "_schema", None)
        op = str(name.name).removeprefix("aten::") if name is not None else str(node.target)
        value = node.meta.get("val")
        if op.startswith(("_assert", "sym_constrain")):  # checks of the tracer, not of the model
            return
        handler = self.handlers.get(op)
        if handler is not None:
            result = handler(self, *node.args, **node.kwargs)
            if result is not None:
                self.number[node.name] = result
                return
        elif op in UNARY:
            self.number[node.name] = self.emit("elementwise", [node.args[0]], fn=UNARY[op])
            return
        elif op in BINARY and node.kwargs.get("alpha", 1) == 1 and not node.kwargs.get("rounding_mode"):
            self.number[node.name] = self.emit(
                "elementwise", [self.of(a) for a in node.args[:2]], fn=BINARY[op]
            )
            return
        elif op in UNKNOWN_ELEMENTWISE or op in BINARY:
            inputs = [a for a in node.args if isinstance(a, CALLS)]
            if inputs:
                self.number[node.name] = self.emit("elementwise", list(inputs))
                return
        elif not node.all_input_nodes and isinstance(value, TENSORS):
            self.number[node.name] = self.literal(node)
            return
        if node.name not in self.pieces:
            self.opaque(node)

    def literal(self, node: Call) -> Number:
        """A tensor made of nothing but numbers, such as `torch.zeros(3)`."""
        shape = tuple(int(s) for s in node.meta["val"].shape)
        data = None
        if int(np.prod(shape, dtype=np.int64)) <= LITERAL_LIMIT and "rand" not in str(node.target):
            data = as_numpy(node.target(*node.args, **node.kwargs))  # type: ignore[operator]  # an OpOverload
        return Number(self.graph.add_value(Value(shape, node.name, data=data)))

    def opaque(self, node: Call) -> None:
        """An operator without a rule: inputs and outputs keep their channels."""
        inputs = [self.number[a.name] for a in node.all_input_nodes if a.name in self.number]
        values = node.meta.get("val")
        several = isinstance(values, tuple | list) and not isinstance(values, Look)
        outs = []
        for value in cast(list[Any], values if several else [values]):
            shape = tuple(int(s) for s in value.shape) if isinstance(value, TENSORS) else ()
            outs.append(Number(self.graph.add_value(Value(shape, node.name))))
        self.graph.nodes.append(
            Node("opaque", tuple(inputs), tuple(outs), {}, str(node.target), self.module, user_place(node))
        )
        if several:
            self.pieces[node.name] = [partial(Number, number) for number in outs]
        else:
            self.number[node.name] = outs[0]


def many(value: Any) -> tuple[Any, ...] | str:
    """A number or a list as a tuple; a string stays one."""
    if isinstance(value, str):
        return value
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def as_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The tensor's numbers without a copy where numpy knows the type; bfloat16 becomes float32.

    Raises:
        BadWeights: If it has none.
    """
    if tensor.is_meta:
        shape = tuple(tensor.shape)
        raise BadWeights(f"tensors of the model must hold numbers, got one of shape {shape} on meta")
    tensor = tensor.detach() if tensor.is_cpu else tensor.detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.numpy()
