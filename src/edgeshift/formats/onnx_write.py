# SPDX-License-Identifier: Apache-2.0
"""ONNX files written byte by byte, for networks made on a device: needs neither torch nor onnx.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue

# IR version 10 belongs to opset 21, ORT 1.18; nothing later is used.
IR_VERSION, OPSET = 10, 21
DATA_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float64": 11}
Attribute = int | float | str | Sequence[int]


def number(value: int) -> bytes:
    """A varint; a negative number takes ten bytes."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def whole(field: int, value: int) -> bytes:
    """A field that holds a whole number."""
    return number(field << 3) + number(value)


def block(field: int, value: bytes | str) -> bytes:
    """A field that holds bytes, text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return number(field << 3 | 2) + number(len(data)) + data


def attribute(name: str, value: Attribute) -> bytes:
    """AttributeProto of a number, a text or whole numbers."""
    if isinstance(value, str):
        return block(1, name) + block(4, value) + whole(20, 3)
    if isinstance(value, float):
        return block(1, name) + number(2 << 3 | 5) + struct.pack("<f", value) + whole(20, 1)
    if isinstance(value, int):
        return block(1, name) + whole(3, value) + whole(20, 2)
    return block(1, name) + b"".join(whole(8, int(v)) for v in value) + whole(20, 7)


def tensor(name: str, array: NDArray[Any]) -> bytes:
    """TensorProto.

    Raises:
        BadValue: If the dtype is none of `DATA_TYPES`.
    """
    kind = DATA_TYPES.get(str(array.dtype))
    if kind is None:
        raise BadValue("dtype of a tensor", str(array.dtype), f"one of {', '.join(DATA_TYPES)}")
    sizes = b"".join(whole(1, size) for size in array.shape)
    return sizes + whole(2, kind) + block(8, name) + block(9, np.ascontiguousarray(array).tobytes())


def value_info(name: str, shape: Iterable[int | str], data_type: int = 1) -> bytes:
    """ValueInfoProto; a text stands for an open size."""
    dims = b"".join(block(1, block(2, s) if isinstance(s, str) else whole(1, s)) for s in shape)
    return block(1, name) + block(2, block(1, whole(1, data_type) + block(2, dims)))


def with_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """A model that hands out more of its values.

    Protobuf joins messages that are written one after the other, so nothing is read or copied.
    """
    return model + block(7, b"".join(block(12, block(1, name)) for name in names))


class OnnxWriter:
    """A graph that grows by one operator per call; `model()` is the file."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._tensors: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []

    def input(self, name: str, shape: Sequence[int | str], data_type: int = 1) -> str:
        """Declare an input; its name."""
        self._inputs.append(value_info(name, shape, data_type))
        return name

    def output(self, name: str, shape: Sequence[int | str], data_type: int = 1) -> None:
        """Declare a value as output."""
        self._outputs.append(value_info(name, shape, data_type))

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """Store a tensor; its name."""
        name = name or f"c{len(self._tensors)}"
        self._tensors.append(tensor(name, array))
        return name

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Attribute) -> str:
        """Add an operator; the name of its first output, the others end in _1, _2 ..."""
        name = f"v{len(self._nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        parts = [block(1, i) for i in inputs] + [block(2, o) for o in names]
        parts += [block(3, f"{op}_{len(self._nodes)}"), block(4, op)]
        parts += [block(5, attribute(key, value)) for key, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return name

    def model(self) -> bytes:
        """The whole file."""
        parts = [block(1, n) for n in self._nodes] + [block(2, "edgeshift")]
        parts += [block(5, t) for t in self._tensors]
        parts += [block(11, i) for i in self._inputs] + [block(12, o) for o in self._outputs]
        head = whole(1, IR_VERSION) + block(2, "edgeshift")
        return head + block(7, b"".join(parts)) + block(8, block(1, "") + whole(2, OPSET))
