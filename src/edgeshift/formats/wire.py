# SPDX-License-Identifier: Apache-2.0
"""Whether an ONNX file points at other files, told from its bytes: needs neither torch nor onnx.

External data has been a way out of the model's folder four times (CVE-2022-25882, CVE-2024-27318,
CVE-2026-27489, CVE-2026-34446); a portfolio never needs it. Every tensor is looked at: weights, sparse
weights, attributes, subgraphs, functions. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Iterator

from edgeshift.core.errors import BadPortfolio

# Message -> field number -> message inside it. What is not named holds no tensor and is skipped.
INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5
# ORT itself refuses protobuf messages nested deeper than 100.
MAX_DEPTH = 100


def varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number and where the next field starts."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise BadPortfolio("ONNX file must be whole, got a number that never ends")


def fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, value (of numbers), start and end (of messages) of each field in a message."""
    at = start
    while at < end:
        key, at = varint(data, at, end)
        number, kind = key >> 3, key & 7
        value = 0
        begin = at
        if kind == VARINT:
            value, at = varint(data, at, end)
        elif kind == LENGTH:
            size, begin = varint(data, at, end)
            at = begin + size
        elif kind in (EIGHT, FOUR):
            at += 8 if kind == EIGHT else 4
        else:
            raise BadPortfolio(f"ONNX file must be protobuf, got wire type {kind}")
        if at > end or number == 0:
            raise BadPortfolio("ONNX file must be whole, got a field that ends outside its message")
        yield number, value, begin, at


def refuse_external_data(model: bytes | memoryview) -> None:
    """Nothing, if every tensor is inside the file.

    Args:
        model: The whole ONNX file.

    Raises:
        BadPortfolio: If a tensor lies in another file, or the bytes are no protobuf.
    """
    data = memoryview(model).cast("B")
    if not len(data):
        raise BadPortfolio("ONNX file must be a model, got an empty file")
    waiting = [("model", 0, len(data), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadPortfolio(f"ONNX file must be nested at most {MAX_DEPTH} deep, got more")
        for number, value, begin, after in fields(data, start, end):
            if message == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
                raise BadPortfolio("ONNX file must hold all its tensors, got one that lies in another file")
            inner = INSIDE[message].get(number)
            if inner:
                waiting.append((inner, begin, after, depth + 1))
