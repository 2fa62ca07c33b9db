# SPDX-License-Identifier: Apache-2.0
"""Requests and answers by their bytes, worked out by hand; then round trips and garbage."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import Refused
from edgeshift.serve.codec import Request, decode, encode
from edgeshift.serve.codes import REFUSALS
from edgeshift.serve.ports import DATATYPES, Port

X = Port.of("x", "float32", (None, 2))
N = Port.of("n", "int8", (1,))
OUT = (Port.of("y", "float32", (None, 1)), Port.of("z", "int64", (1,)))


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2], **changes}


def body(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def asked(*inputs: Any, ports: tuple[Port, ...] = (X,), **more: Any) -> Request:
    return decode(body(*inputs, **more), None, ports, OUT)


def code(content: bytes, length: int | None = None, ports: tuple[Port, ...] = (X,)) -> str:
    with pytest.raises(Refused) as caught:
        decode(content, length, ports, OUT)
    return caught.value.code


def raw(head: dict[str, Any], *tails: bytes) -> tuple[bytes, int]:
    text = json.dumps(head).encode()
    return b"".join((text, *tails)), len(text)


def test_json_numbers_become_the_models_type() -> None:
    found = asked(tensor())
    assert found.inputs["x"].tolist() == [[1.5, -2.0]]
    assert found.inputs["x"].dtype == np.float32
    assert (found.id, found.deadline_ms, found.min_accuracy) == (None, None, None)
    assert found.outputs == {"y": False, "z": False}


def test_nested_lists_are_read_in_row_order() -> None:
    found = asked(tensor(shape=[3, 2], data=[[1, 2], [3, 4], [5, 6]]))
    assert found.inputs["x"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_raw_tensors_are_little_endian() -> None:
    head = {"inputs": [{**tensor(), "parameters": {"binary_data_size": 8}}]}
    del head["inputs"][0]["data"]
    content, length = raw(head, bytes.fromhex("0000c03f000000c0"))  # 1.5, -2.0
    found = decode(content, length, (X,), OUT)
    assert found.inputs["x"].tolist() == [[1.5, -2.0]]
    assert found.inputs["x"].flags.aligned


@pytest.mark.parametrize("pad", range(4))
def test_raw_tensors_are_aligned_wherever_the_json_ends(pad: int) -> None:
    head = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]
    }
    content, length = raw({**head, "id": "i" * pad}, struct.pack("<2f", 3, 4))
    found = decode(content, length, (X,), OUT).inputs["x"]
    assert found.tolist() == [[3, 4]]
    assert found.flags.aligned
    assert found.flags.c_contiguous


def test_raw_and_json_inputs_mix_and_come_in_any_order() -> None:
    head = {
        "inputs": [
            {"name": "n", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}},
            tensor(),
        ]
    }
    content, length = raw(head, b"\xff")
    found = decode(content, length, (X, N), OUT)
    assert found.inputs["n"].tolist() == [-1]
    assert found.inputs["x"].tolist() == [[1.5, -2.0]]


def test_id_parameters_and_outputs_are_read() -> None:
    found = asked(
        tensor(),
        id="a/7",
        parameters={"deadline_ms": 12.5, "min_accuracy": 0.9, "unknown": [1]},
        outputs=[{"name": "z", "parameters": {"binary_data": True}}],
    )
    assert (found.id, found.deadline_ms, found.min_accuracy) == ("a/7", 12.5, 0.9)
    assert found.outputs == {"z": True}


def test_tritons_timeout_is_a_deadline_in_microseconds() -> None:
    assert asked(tensor(), parameters={"timeout": 2500}).deadline_ms == 2.5
    assert asked(tensor(), parameters={"timeout": 2500, "deadline_ms": 7}).deadline_ms == 7


def test_all_outputs_are_raw_where_the_request_says_so() -> None:
    found = asked(tensor(), parameters={"binary_data_output": True})
    assert found.outputs == {"y": True, "z": True}


WRONG: list[tuple[str, bytes]] = [
    ("bad_json", b""),
    ("bad_json", b"{"),
    ("bad_json", b"\xff\xfe{}"),
    ("bad_json", b"[]"),
    ("bad_json", b'{"inputs": [], "inputs": []}'),
    ("bad_json", body(tensor()).replace(b"1.5", b"NaN")),
    ("bad_json", body(tensor()).replace(b"1.5", b"-Infinity")),
    ("bad_json", body(tensor()).replace(b"1.5", b"9" * 5000)),
    ("too_deep", b'{"inputs": ' + b"[" * 100_000),
    ("too_deep", b'{"inputs": [' + b'{"a":' * 1001),
    ("bad_request", body()),
    ("bad_request", b'{"inputs": 3}'),
    ("bad_request", body(3)),
    ("bad_request", body(tensor(name=3))),
    ("bad_request", body(tensor(shape="1,2"))),
    ("bad_request", body(tensor(shape=[True, 2]))),
    ("bad_request", body(tensor(shape=[1.0, 2]))),
    ("bad_request", body(tensor(datatype=None))),
    ("bad_request", body(tensor(data="1.5,2"))),
    ("bad_request", body(tensor(data=[1.5, "2"]))),
    ("bad_request", body(tensor(data=[1.5, True]))),
    ("bad_request", body(tensor(data=[1.5, None]))),
    ("bad_request", body(tensor(parameters=[]))),
    ("bad_request", body(tensor(), id=3)),
    ("bad_request", body(tensor(), outputs="y")),
    ("bad_request", body(tensor(), outputs=[{}])),
    ("bad_request", body(tensor(), outputs=[{"name": "y", "parameters": {"binary_data": 1}}])),
    ("bad_request", body(tensor(parameters={"binary_data_size": 8}))),
    ("unknown_input", body(tensor(name="w"))),
    ("duplicate_input", body(tensor(), tensor())),
    ("wrong_datatype", body(tensor(datatype="FP64"))),
    ("wrong_datatype", body(tensor(datatype="BYTES"))),
    ("wrong_shape", body(tensor(shape=[2]))),
    ("wrong_shape", body(tensor(shape=[1, 3]))),
    ("wrong_shape", body(tensor(shape=[0, 2], data=[]))),
    ("wrong_shape", body(tensor(shape=[-1, 2]))),
    ("wrong_size", body(tensor(shape=[2**31, 2]))),
    ("wrong_size", body(tensor(shape=[10**30, 2]))),
    ("wrong_size", body(tensor(data=[]))),
    ("wrong_size", body(tensor(data=[1.5]))),
    ("wrong_size", body(tensor(data=[[1.5, 2, 3]]))),
    ("wrong_size", body(tensor(data=[[1.5], 2]))),
    ("wrong_size", body(tensor(shape=[2, 2], data=[[1, 2], [3]]))),
    ("out_of_range", body(tensor(data=[1e39, 0]))),
    ("out_of_range", body(tensor()).replace(b"1.5", b"1e999")),
    ("out_of_range", body(tensor(data=[10**400, 0]))),
    ("unknown_output", body(tensor(), outputs=[{"name": "w"}])),
    ("duplicate_output", body(tensor(), outputs=[{"name": "y"}, {"name": "y"}])),
    ("bad_parameter", body(tensor(), parameters={"deadline_ms": 0})),
    ("bad_parameter", body(tensor(), parameters={"deadline_ms": True})),
    ("bad_parameter", body(tensor(), parameters={"deadline_ms": "5"})),
    ("bad_parameter", body(tensor(), parameters={"timeout": -1})),
    ("bad_parameter", body(tensor(), parameters={"min_accuracy": 1.01})),
    ("unsupported", body(tensor(), parameters={"sequence_id": 1})),
    ("unsupported", body(tensor(parameters={"shared_memory_region": "r"}))),
    ("unsupported", body(tensor(), outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}])),
    ("unsupported", body(tensor(), outputs=[{"name": "y", "parameters": {"classification": 3}}])),
]


@pytest.mark.parametrize(("want", "content"), WRONG, ids=[f"{i}-{w}" for i, (w, _) in enumerate(WRONG)])
def test_a_wrong_request_has_its_code(want: str, content: bytes) -> None:
    assert code(content) == want


def test_every_input_must_come() -> None:
    assert code(body(tensor()), None, (X, N)) == "missing_input"


@pytest.mark.parametrize("length", [0, 100_000])
def test_the_json_must_end_within_the_body(length: int) -> None:
    assert code(body(tensor()), length) == "bad_header_length"


RAW = {"name": "x", "datatype": "FP32", "shape": [1, 2]}


@pytest.mark.parametrize(
    ("want", "size", "tail"),
    [
        ("wrong_size", 8, b"1234567"),
        ("wrong_size", 8, b"123456789"),
        ("wrong_size", 4, b"1234"),
        ("wrong_size", -8, b"12345678"),
        ("bad_request", 8.0, b"12345678"),
        ("not_finite", 8, struct.pack("<2f", 1, float("nan"))),
        ("not_finite", 8, struct.pack("<2f", float("inf"), 1)),
    ],
)
def test_a_wrong_raw_tensor_has_its_code(want: str, size: Any, tail: bytes) -> None:
    content, length = raw({"inputs": [{**RAW, "parameters": {"binary_data_size": size}}]}, tail)
    assert code(content, length) == want


def test_a_raw_bool_is_0_or_1() -> None:
    port = Port.of("b", "bool", (2,))
    head = {
        "inputs": [{"name": "b", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}]
    }
    content, length = raw(head, b"\x01\x00")
    assert decode(content, length, (port,), OUT).inputs["b"].tolist() == [True, False]
    content, length = raw(head, b"\x01\x02")
    assert code(content, length, (port,)) == "out_of_range"


@pytest.mark.parametrize(("value", "fits"), [(-128, True), (127, True), (-129, False), (128, False)])
def test_an_integer_must_fit_its_type(value: int, fits: bool) -> None:
    content = body({"name": "n", "datatype": "INT8", "shape": [1], "data": [value]})
    if fits:
        assert decode(content, None, (N,), OUT).inputs["n"].tolist() == [value]
    else:
        assert code(content, None, (N,)) == "out_of_range"


def test_a_fraction_is_no_integer() -> None:
    assert (
        code(body({"name": "n", "datatype": "INT8", "shape": [1], "data": [1.5]}), None, (N,))
        == "bad_request"
    )


ANSWER = {"y": np.array([[0.5]], np.float32), "z": np.array([7], np.int64)}
FACTS = {"model_name": "m", "model_version": "v"}


def test_a_json_answer_by_its_bytes() -> None:
    request = Request({}, "q", {"y": False})
    assert encode(request, ANSWER, FACTS) == (
        b'{"model_name":"m","model_version":"v","id":"q",'
        b'"outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[0.5]}]}',
        None,
    )


def test_a_raw_answer_by_its_bytes() -> None:
    content, length = encode(Request({}, None, {"z": True, "y": True}), ANSWER, FACTS)
    assert length is not None
    assert json.loads(content[:length])["outputs"] == [
        {"name": "z", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}},
        {"name": "y", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}},
    ]
    assert content[length:] == bytes.fromhex("0700000000000000" + "0000003f")


def test_an_infinite_output_is_raw_or_refused() -> None:
    outputs = {"y": np.array([[np.inf]], np.float32)}
    content, length = encode(Request({}, None, {"y": True}), outputs, FACTS)
    assert content[length:] == bytes.fromhex("0000807f")
    with pytest.raises(Refused, match="got not_finite_output"):
        encode(Request({}, None, {"y": False}), outputs, FACTS)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from(sorted(DATATYPES)), st.booleans(), st.lists(st.integers(1, 3), max_size=3))
def test_what_is_encoded_is_decoded(
    data: st.DataObject, datatype: str, binary: bool, shape: list[int]
) -> None:
    dtype = DATATYPES[datatype]
    count = int(np.prod(shape))
    if dtype.kind == "f":
        one = st.floats(width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False)
    elif dtype.kind == "b":
        one = st.booleans()
    else:
        one = st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    values = np.array(data.draw(st.lists(one, min_size=count, max_size=count)), dtype).reshape(shape)
    content, length = encode(Request({}, None, {"t": binary}), {"t": values}, {})
    head = json.loads(content if length is None else content[:length])
    again = json.dumps({"inputs": head["outputs"]}).encode()
    tail = b"" if length is None else content[length:]
    port = Port("t", dtype, tuple(shape))
    found = decode(again + tail, len(again) if binary else None, (port,), (port,)).inputs["t"]
    assert found.dtype == dtype
    assert found.tobytes() == values.tobytes()


def said(content: bytes, length: int | None) -> str | None:
    try:
        decode(content, length, (X, N), OUT)
    except Refused as error:
        return error.code
    return None


@settings(deadline=None, max_examples=500)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["inputs", "outputs", "name", "shape", "data", "datatype", "parameters", "id"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    ),
    st.none() | st.integers(-5, 200),
)
def test_any_json_is_read_or_refused_with_a_known_code(value: Any, length: int | None) -> None:
    assert said(json.dumps(value).encode(), length) in {None, *REFUSALS}


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.none() | st.integers(-5, 300))
def test_any_bytes_are_read_or_refused_with_a_known_code(content: bytes, length: int | None) -> None:
    assert said(content, length) in {None, *REFUSALS}
