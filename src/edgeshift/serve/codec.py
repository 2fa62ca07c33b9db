# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the Open Inference Protocol: JSON, and JSON followed by raw tensors.

https://github.com/kserve/open-inference-protocol (REST) with the binary tensor extension of Triton. Pure
functions of bytes: nothing here waits, opens or remembers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import Refused
from edgeshift.serve.ports import Port

Tensor = NDArray[Any]

# A request of n inputs and outputs needs 2 + 2n objects; braces may also stand in strings.
MOST_OBJECTS = 1000
# Extensions that this server does without; a client that relies on one must hear of it.
REFUSED = ("sequence_id", "sequence_start", "sequence_end", "priority")
SHARED_MEMORY = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")


@dataclass(frozen=True)
class Request:
    """What a client asks.

    Attributes:
        inputs: Name -> array of the model's type, C order, aligned; may be a read-only view of the body.
        id: Given back with the answer.
        outputs: Name -> whether as raw bytes, in the order of the answer.
        deadline_ms: From arrival to answer; None = the server's own.
        min_accuracy: The answer must come from a variant at least this accurate, 0..1.
    """

    inputs: Mapping[str, Tensor]
    id: str | None
    outputs: Mapping[str, bool]
    deadline_ms: float | None = None
    min_accuracy: float | None = None


def decode(
    body: bytes, header_length: int | None, inputs: Sequence[Port], outputs: Sequence[Port]
) -> Request:
    """The request in a body.

    Args:
        body: JSON, or JSON followed by the raw tensors.
        header_length: Bytes of JSON at the front; None = all.
        inputs: What the model takes.
        outputs: What the model gives.

    Raises:
        Refused: With a code of `serve.codes.REFUSALS`; never any other error, whatever the body holds.
    """
    length = len(body) if header_length is None else header_length
    if not 0 < length <= len(body):
        raise Refused("bad_json" if header_length is None else "bad_header_length")
    head = parse(body[:length])
    asked = head.get("inputs")
    if not isinstance(asked, list) or not asked:
        raise Refused("bad_request")
    parameters = options(head)
    request_id = head.get("id")
    if not (request_id is None or isinstance(request_id, str)):
        raise Refused("bad_request")
    if any(name in parameters for name in REFUSED):
        raise Refused("unsupported")
    return Request(
        inputs=tensors(asked, body, length, inputs),
        id=request_id,
        outputs=wanted(head.get("outputs"), parameters, outputs),
        deadline_ms=deadline(parameters),
        min_accuracy=number(parameters, "min_accuracy", 0.0, 1.0),
    )


def parse(text: bytes) -> dict[str, Any]:
    """A JSON object, strictly: UTF-8, no repeated key, no NaN.

    Raises:
        Refused: If it is something else, or nested too deeply.
    """
    if text.count(b"{") > MOST_OBJECTS:
        raise Refused("too_deep")
    try:
        found = json.loads(text.decode(), parse_constant=no_constant, object_pairs_hook=once)
    except RecursionError:
        raise Refused("too_deep") from None
    except ValueError as error:  # of json, of the UTF-8 decoder, of int() for a number of over 4300 digits
        if isinstance(error, Refused):
            raise
        raise Refused("bad_json") from None
    if not isinstance(found, dict):
        raise Refused("bad_json")
    return found


def no_constant(word: str) -> float:
    """Refuses NaN and Infinity, which JSON does not have."""
    raise Refused("bad_json")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, none of them repeated."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("bad_json")
    return found


def options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The `parameters` of a record; shared memory is refused wherever it is asked for."""
    found = record.get("parameters", {})
    if not isinstance(found, dict):
        raise Refused("bad_request")
    if any(name in found for name in SHARED_MEMORY):
        raise Refused("unsupported")
    return found


def number(parameters: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    """A finite number in a range, or None where it is not given."""
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused("bad_parameter")
    return float(value)


def deadline(parameters: Mapping[str, Any]) -> float | None:
    """`deadline_ms`, else Triton's `timeout` in microseconds."""
    least, most = 1e-3, 1e9  # 1e9 ms: 11 days
    given = number(parameters, "deadline_ms", least, most)
    timeout = number(parameters, "timeout", least * 1000, most * 1000)
    return given if given is not None or timeout is None else timeout / 1000


def flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A true or false of the parameters."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refused("bad_request")
    return value


def wanted(asked: object, parameters: Mapping[str, Any], ports: Sequence[Port]) -> dict[str, bool]:
    """Name -> whether as raw bytes, of the outputs a client asks for; all where it asks for none."""
    default = flag(parameters, "binary_data_output", default=False)
    if asked is None or asked == []:
        return {port.name: default for port in ports}
    if not isinstance(asked, list):
        raise Refused("bad_request")
    known = {port.name for port in ports}
    found: dict[str, bool] = {}
    for each in asked:
        if not isinstance(each, dict) or not isinstance(name := each.get("name"), str):
            raise Refused("bad_request")
        own = options(each)
        if own.get("classification"):
            raise Refused("unsupported")
        if name not in known:
            raise Refused("unknown_output")
        if name in found:
            raise Refused("duplicate_output")
        found[name] = flag(own, "binary_data", default=default)
    return found


def tensors(asked: list[Any], body: bytes, start: int, ports: Sequence[Port]) -> dict[str, Tensor]:
    """Name -> array of all inputs; raw ones lie in the body one after the other from `start`."""
    by_name = {port.name: port for port in ports}
    found: dict[str, Tensor] = {}
    for each in asked:
        if not isinstance(each, dict) or not isinstance(name := each.get("name"), str):
            raise Refused("bad_request")
        if name not in by_name:
            raise Refused("unknown_input")
        if name in found:
            raise Refused("duplicate_input")
        port = by_name[name]
        size = options(each).get("binary_data_size")
        shape = fitting(each, port)
        if size is None:
            found[name] = from_json(each.get("data"), shape, port)
            continue
        if type(size) is not int or "data" in each:
            raise Refused("bad_request")
        found[name] = from_bytes(body, start, size, shape, port)
        start += size
    if len(found) != len(by_name):
        raise Refused("missing_input")
    if start != len(body):
        raise Refused("wrong_size")
    return found


def fitting(record: Mapping[str, Any], port: Port) -> tuple[int, ...]:
    """The shape of an input, of the right type and fitting the model."""
    datatype, shape = record.get("datatype"), record.get("shape")
    if not isinstance(datatype, str) or not isinstance(shape, list):
        raise Refused("bad_request")
    if any(type(size) is not int for size in shape):
        raise Refused("bad_request")
    if datatype != port.datatype:
        raise Refused("wrong_datatype")
    if len(shape) != len(port.shape):
        raise Refused("wrong_shape")
    if any(
        size < 1 or (want is not None and size != want) for size, want in zip(shape, port.shape, strict=True)
    ):
        raise Refused("wrong_shape")
    return tuple(shape)


def from_bytes(body: bytes, start: int, size: int, shape: tuple[int, ...], port: Port) -> Tensor:
    """An input from raw little-endian bytes; a view of the body where its alignment allows."""
    count = math.prod(shape)
    if size != count * port.dtype.itemsize or start + size > len(body):
        raise Refused("wrong_size")
    if port.dtype.kind == "b" and np.frombuffer(body, np.uint8, count, start).max() > 1:
        raise Refused("out_of_range")
    flat = np.frombuffer(body, port.wire, count, start)
    if not flat.flags.aligned or port.wire != port.dtype:
        flat = flat.astype(port.dtype)
    if port.dtype.kind == "f" and not np.isfinite(flat).all():
        raise Refused("not_finite")
    return flat.reshape(shape)


def from_json(data: object, shape: tuple[int, ...], port: Port) -> Tensor:
    """An input from a flat list of numbers, or from lists nested as the shape says."""
    if not isinstance(data, list) or not data:
        raise Refused("bad_request" if not isinstance(data, list) else "wrong_size")
    values: list[Any] = data
    if isinstance(data[0], list):
        values = [data]
        for size in shape:
            if any(type(row) is not list or len(row) != size for row in values):
                raise Refused("wrong_size")
            values = list(chain.from_iterable(values))
    if len(values) != math.prod(shape):
        raise Refused("wrong_size")
    return numbers(values, port).reshape(shape)


def numbers(values: list[Any], port: Port) -> Tensor:
    """A flat array of JSON numbers (or true and false), none of them changed beyond rounding."""
    kinds = set(map(type, values))
    kind_of: dict[str, set[type]] = {"b": {bool}, "f": {int, float}}
    allowed = kind_of.get(port.dtype.kind, {int})
    if not kinds <= allowed:
        raise Refused("bad_request")
    try:
        with np.errstate(over="ignore"):  # a number too large becomes inf, which is refused below
            found = np.array(values, port.dtype)
    except OverflowError:
        raise Refused("out_of_range") from None
    if port.dtype.kind == "f" and not np.isfinite(found).all():
        raise Refused("out_of_range")
    return found


def encode(
    request: Request, outputs: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> tuple[bytes, int | None]:
    """The body of an answer and the length of its JSON front, None where there is nothing behind it.

    Args:
        request: What was asked; its outputs are given in its order.
        outputs: Name -> array, of all outputs asked for.
        facts: What stands before the outputs: `model_name`, `model_version`, `parameters`.

    Raises:
        Refused: If an output is NaN or infinite and JSON was asked for.
    """
    head: dict[str, Any] = dict(facts)
    if request.id is not None:
        head["id"] = request.id
    described, raw = [], []
    for name, binary in request.outputs.items():
        port = Port.of(name, outputs[name].dtype, outputs[name].shape)
        one: dict[str, Any] = {"name": name, "datatype": port.datatype, "shape": list(outputs[name].shape)}
        if binary:
            raw.append(np.ascontiguousarray(outputs[name], port.wire).tobytes())
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = outputs[name].ravel().tolist()
        described.append(one)
    head["outputs"] = described
    try:
        text = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        raise Refused("not_finite_output") from None
    return (b"".join((text, *raw)), len(text)) if raw else (text, None)
