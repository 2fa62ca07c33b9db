# SPDX-License-Identifier: Apache-2.0
"""What is written byte by byte is ONNX, and is read back as it was."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.formats.onnx_read import read_graph
from edgeshift.formats.onnx_write import OnnxWriter, number, with_outputs


def small() -> bytes:
    writer = OnnxWriter()
    x = writer.input("x", ["batch", 3, 8, 8])
    weight = writer.constant(np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3), "w")
    value = writer.node("Conv", [x, weight], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    writer.output(writer.node("LeakyRelu", [value], alpha=0.5), ["batch", 4, 8, 8])
    return writer.model()


def test_the_checker_of_onnx_agrees() -> None:
    model = onnx.load_from_string(small())
    onnx.checker.check_model(model)
    assert numpy_helper.to_array(model.graph.initializer[0]).sum() == sum(range(108))


def test_a_graph_is_read_back() -> None:
    graph = read_graph(small())
    assert [node.op for node in graph.nodes] == ["Conv", "LeakyRelu"]
    assert graph.nodes[0].attributes == {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
    assert graph.nodes[1].attributes == {"alpha": 0.5}
    assert graph.inputs == {"x": (None, 3, 8, 8)}
    assert (graph.tensors["w"].shape, graph.tensors["w"].size_bytes) == ((4, 3, 3, 3), 432)


def test_what_onnx_writes_is_read_alike() -> None:
    theirs = onnx.load_from_string(small()).SerializeToString()
    assert read_graph(theirs) == read_graph(small())


def test_more_outputs_join_those_that_are_there() -> None:
    assert read_graph(small()).outputs == ("v1",)
    model = onnx.load_from_string(with_outputs(small(), ["v0"]))
    assert [output.name for output in model.graph.output] == ["v1", "v0"]


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_every_whole_number_survives(value: int) -> None:
    writer = OnnxWriter()
    writer.output(writer.node("Relu", [writer.input("x", [1])], axis=value), [1])
    assert read_graph(writer.model()).nodes[0].attributes == {"axis": value}


def test_a_negative_number_takes_ten_bytes() -> None:
    assert (len(number(-1)), number(300)) == (10, b"\xac\x02")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=64))
def test_bytes_that_are_no_graph_are_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(BadPortfolio):
        read_graph(data)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(BadValue, match="dtype of a tensor must be one of float32"):
        OnnxWriter().constant(np.zeros(2, np.complex64))
