# SPDX-License-Identifier: Apache-2.0
"""ONNX files opened in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.formats import open_onnx


def model_bytes(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: tuple[object, ...]
) -> bytes:
    """A model from "input" of a shape to "output"."""
    graph = helper.make_graph(
        nodes,
        "hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return made.SerializeToString()


def doubling(shape: tuple[object, ...] = ("batch", 3)) -> bytes:
    """Twice the input."""
    return model_bytes(
        [helper.make_node("Mul", ["input", "two"], ["output"])], {"two": np.array(2, np.float32)}, shape
    )


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_it_answers() -> None:
    assert open_onnx(doubling()).run(ones(2, 3)).tolist() == [[2, 2, 2], [2, 2, 2]]


def test_a_path_is_opened(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(doubling())
    assert open_onnx(tmp_path / "m.onnx").run(ones(1, 3)).tolist() == [[2, 2, 2]]


def test_it_tells_shape_threads_and_runtime() -> None:
    session = open_onnx(doubling(), threads=2)
    assert (session.input_shape, session.threads) == ((3,), 2)
    assert session.runtime.startswith("onnxruntime 1.")


def test_threads_and_spinning_are_what_was_asked() -> None:
    options = open_onnx(doubling(), threads=2)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_no_thread_is_too_few() -> None:
    with pytest.raises(BadValue, match="threads must be at least 1, got 0"):
        open_onnx(doubling(), threads=0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"ONNX file must be an existing file, got '.*none.onnx'"):
        open_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x80\x02}q\x00.", bytes(100), doubling()[:-9]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadPortfolio, match=r"must .* got"):
        open_onnx(data)


@given(data=st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(BadPortfolio):
        open_onnx(data)


def test_a_fixed_batch_size_is_refused() -> None:
    with pytest.raises(BadPortfolio, match=r"must take any batch size, got input shape \[1, 3\]"):
        open_onnx(doubling((1, 3)))


def test_two_outputs_are_refused() -> None:
    made = onnx.load_from_string(doubling())
    made.graph.node.append(helper.make_node("Neg", ["input"], ["other"]))
    made.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))
    with pytest.raises(
        BadPortfolio, match=r"must have one float32 input and one output, got .* and 2 outputs"
    ):
        open_onnx(made.SerializeToString())


def test_another_dtype_is_refused() -> None:
    with pytest.raises(BadValue, match="dtype of the input must be float32, got 'float64'"):
        open_onnx(doubling()).run(np.ones((1, 3)))


@pytest.mark.parametrize("shape", [(3,), (1, 4), (0, 3), (1, 3, 1)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValue, match=r"shape of the input must be \(batch, 3\), got"):
        open_onnx(doubling()).run(ones(*shape))


def test_a_model_that_fails_inside_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Reshape", ["input", "shape"], ["output"])]
    session = open_onnx(model_bytes(nodes, {"shape": np.array([5, -1], np.int64)}, ("batch", 3)))
    with pytest.raises(BadPortfolio, match=r"ONNX file must answer \(2, 3\), got: ") as caught:
        session.run(ones(2, 3))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def external(tensor: TensorProto, path: str) -> None:
    """Make a tensor point at a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)


def in_weights(made: onnx.ModelProto) -> TensorProto:
    return made.graph.initializer[0]


def in_an_attribute(made: onnx.ModelProto) -> TensorProto:
    constant = numpy_helper.from_array(np.ones(1, np.float32), "c")
    made.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=constant))
    return made.graph.node[0].attribute[0].t


def in_sparse_weights(made: onnx.ModelProto) -> TensorProto:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return made.graph.sparse_initializer[0].values


def in_a_branch(made: onnx.ModelProto) -> TensorProto:
    value = numpy_helper.from_array(np.ones(1, np.float32), "c")
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])
    branch = helper.make_graph([], "branch", [], [output], [value])
    made.graph.node.insert(
        0, helper.make_node("If", ["x"], ["unused"], then_branch=branch, else_branch=branch)
    )
    return made.graph.node[0].attribute[1].g.initializer[0]


def in_a_function(made: onnx.ModelProto) -> TensorProto:
    node = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(1, np.float32), "c"))
    made.functions.append(helper.make_function("own", "F", [], ["y"], [node], [helper.make_opsetid("", 18)]))
    return made.functions[0].node[0].attribute[0].t


@pytest.mark.parametrize(
    "place", [in_weights, in_an_attribute, in_sparse_weights, in_a_branch, in_a_function]
)
@pytest.mark.parametrize("path", ["weights.bin", "../../etc/passwd", "/etc/passwd"])
def test_a_tensor_in_another_file_is_refused(place: object, path: str) -> None:
    made = onnx.load_from_string(doubling())
    external(place(made), path)  # type: ignore[operator]
    with pytest.raises(BadPortfolio, match="must hold all its tensors, got one that lies in another file"):
        open_onnx(made.SerializeToString())


def test_deep_nesting_is_refused() -> None:
    inner = b""
    for _ in range(200):  # graph in attribute in node in graph ...
        for tag in (0x32, 0x2A, 0x0A):
            size = len(inner)
            length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
            inner = bytes([tag]) + length + inner
    size = len(inner)
    data = bytes([0x3A, size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + inner[:]
    with pytest.raises(BadPortfolio, match="must be nested at most 100 deep, got more"):
        open_onnx(data)
