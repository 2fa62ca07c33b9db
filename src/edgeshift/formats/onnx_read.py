# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as plain values, read from its bytes: needs neither torch nor onnx.

Weights stay where they are; only their shapes are read. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeshift.core.errors import BadPortfolio
from edgeshift.formats.wire import fields, refuse_external_data, varint

# TensorProto.DataType -> bytes of one element.
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
Value = int | float | str | tuple[int, ...] | tuple[float, ...] | None


@dataclass(frozen=True)
class RawTensor:
    """A stored tensor without its numbers.

    Attributes:
        shape: Its sizes.
        data_type: Number of its type in TensorProto.
    """

    shape: tuple[int, ...]
    data_type: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self.elements * ITEM_BYTES.get(self.data_type, 4)


@dataclass(frozen=True)
class RawNode:
    """One operator.

    Attributes:
        op: Its type, such as "Conv".
        inputs: Names of the values it takes; "" = left out.
        outputs: Names of the values it makes.
        attributes: Name -> number, text, tuple, or None for tensors and graphs.
        outer: Names that graphs inside it take from outside.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Value] = field(default_factory=dict)
    outer: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawGraph:
    """The graph of a file.

    Attributes:
        nodes: In the order of the file.
        tensors: Name -> stored tensor.
        inputs: Name -> sizes, None where open; stored tensors are left out.
        outputs: Names.
    """

    nodes: tuple[RawNode, ...]
    tensors: Mapping[str, RawTensor]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]


def read_graph(model: bytes) -> RawGraph:
    """The graph of a whole ONNX file.

    Raises:
        BadPortfolio: If the bytes are no ONNX model or point at other files.
    """
    refuse_external_data(model)
    data = memoryview(model).cast("B")
    for number, _, start, end in fields(data, 0, len(data)):
        if number == 7:
            graph = _graph(data, start, end)
            if graph.nodes:
                return graph
    raise BadPortfolio("ONNX file must hold operators, got none")


def _text(data: memoryview, start: int, end: int) -> str:
    return bytes(data[start:end]).decode("utf-8", errors="replace")


def _ints(data: memoryview, start: int, end: int) -> list[int]:
    """Whole numbers, packed or one alone."""
    found = []
    while start < end:
        value, start = varint(data, start, end)
        value &= (1 << 64) - 1
        found.append(value - (1 << 64) if value >> 63 else value)
    return found


def _floats(data: memoryview, start: int, end: int) -> list[float]:
    return [float(x) for x in np.frombuffer(data[start : end - (end - start) % 4], "<f4")]


def _graph(data: memoryview, start: int, end: int) -> RawGraph:
    nodes: list[RawNode] = []
    tensors: dict[str, RawTensor] = {}
    inputs: dict[str, tuple[int | None, ...]] = {}
    outputs: list[str] = []
    for number, _, begin, after in fields(data, start, end):
        if number == 1:
            nodes.append(_node(data, begin, after))
        elif number == 5:
            name, tensor = _tensor(data, begin, after)
            tensors[name] = tensor
        elif number == 11:
            name, sizes = _value(data, begin, after)
            inputs[name] = sizes
        elif number == 12:
            outputs.append(_value(data, begin, after)[0])
    given = {name: sizes for name, sizes in inputs.items() if name not in tensors}
    return RawGraph(tuple(nodes), tensors, given, tuple(outputs))


def _node(data: memoryview, start: int, end: int) -> RawNode:
    op, inputs, outputs = "", [], []
    attributes: dict[str, Value] = {}
    outer: list[str] = []
    for number, _, begin, after in fields(data, start, end):
        if number == 1:
            inputs.append(_text(data, begin, after))
        elif number == 2:
            outputs.append(_text(data, begin, after))
        elif number == 4:
            op = _text(data, begin, after)
        elif number == 5:
            name, value, needs = _attribute(data, begin, after)
            attributes[name] = value
            outer += needs
    return RawNode(op, tuple(inputs), tuple(outputs), attributes, tuple(dict.fromkeys(outer)))


def _attribute(data: memoryview, start: int, end: int) -> tuple[str, Value, list[str]]:
    name, value, outer = "", None, []
    ints: list[int] = []
    floats: list[float] = []
    single: Value = None
    for number, _, begin, after in fields(data, start, end):
        if number == 1:
            name = _text(data, begin, after)
        elif number == 2:
            single = _floats(data, begin, after)[0]
        elif number == 3:
            single = _ints(data, begin, after)[0]
        elif number == 4:
            single = _text(data, begin, after)
        elif number == 7:
            floats += _floats(data, begin, after)
        elif number == 8:
            ints += _ints(data, begin, after)
        elif number in (6, 11):
            inner = _graph(data, begin, after)
            own = {*inner.tensors, *inner.inputs, *(o for node in inner.nodes for o in node.outputs)}
            used = [i for node in inner.nodes for i in (*node.inputs, *node.outer)]
            outer += [n for n in (*used, *inner.outputs) if n and n not in own]
    value = tuple(ints) if ints else tuple(floats) if floats else single
    return name, value, outer


def _tensor(data: memoryview, start: int, end: int) -> tuple[str, RawTensor]:
    name, kind = "", 1
    shape: list[int] = []
    for number, value, begin, after in fields(data, start, end):
        if number == 1:
            shape += _ints(data, begin, after)
        elif number == 2:
            kind = value
        elif number == 8:
            name = _text(data, begin, after)
    if any(size < 0 for size in shape):
        raise BadPortfolio(f"sizes of tensor {name} must be 0 or more, got {shape}")
    return name, RawTensor(tuple(shape), kind)


def _value(data: memoryview, start: int, end: int) -> tuple[str, tuple[int | None, ...]]:
    """Name and sizes of a graph's input or output."""
    name = ""
    sizes: list[int | None] = []
    # ValueInfo.type (2) -> Type.tensor_type (1) -> Tensor.shape (2) -> Shape.dim (1) -> Dimension.dim_value (1)
    for number, _, begin, after in fields(data, start, end):
        if number == 1:
            name = _text(data, begin, after)
        elif number == 2:
            for shape in _inside(data, [(begin, after)], (1, 2)):
                for dim in _inside(data, [shape], (1,)):
                    values = [value for n, value, _, _ in fields(data, *dim) if n == 1]
                    sizes.append(values[0] if values else None)
    return name, tuple(sizes)


def _inside(data: memoryview, spans: list[tuple[int, int]], path: tuple[int, ...]) -> list[tuple[int, int]]:
    """Spans of the messages that a path of field numbers leads to."""
    for step in path:
        spans = [(b, a) for span in spans for n, _, b, a in fields(data, *span) if n == step]
    return spans
