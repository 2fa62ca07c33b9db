# SPDX-License-Identifier: Apache-2.0
"""What the ONNX front sees in single operators."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from edgeshift.core.errors import BadValue, Untraceable
from edgeshift.graph.analyse import learn
from edgeshift.graph.channels import Node
from edgeshift.graph.fronts.onnx import OnnxTrace, trace_onnx
from edgeshift.graph.onnx_model import read, settle, try_out
from edgeshift.graph.onnx_proof import widen
from edgeshift.graph.onnx_reference import evaluator
from tests.graph.onnx_graphs import model, node, numbers, whole


def trace(proto: ModelProto, **example: Any) -> OnnxTrace:
    """The channel graph of a model."""
    settled = settle(read(proto))
    return trace_onnx(settled, try_out(settled, example or None))


def last(proto: ModelProto) -> Node:
    """The node that makes the model's first output."""
    graph = trace(proto).graph
    return next(n for n in graph.nodes if graph.outputs[0] in n.outputs)


def kinds(proto: ModelProto) -> list[str]:
    """Kinds of all nodes in order."""
    return [n.kind for n in trace(proto).graph.nodes]


# Reading.


def test_what_is_no_onnx_file_is_named() -> None:
    with pytest.raises(BadValue, match="ONNX file must be an ONNX model, got 'bytes'"):
        read(b"no model at all")


def test_an_empty_file_is_no_model() -> None:
    with pytest.raises(BadValue, match="ONNX file must be a model with at least one operator"):
        read(b"")


def test_an_old_opset_is_refused() -> None:
    with pytest.raises(BadValue, match="opset must be 11 or later"):
        read(model([node("Relu", ["x"], "y")], {}, opset=9))


def test_tensors_in_other_files_are_refused() -> None:
    proto = model([node("Add", ["x", "b"], "y")], {"b": numbers(6)})
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(BadValue, match="inside the ONNX file, got 'other file for b'"):
        read(proto)


def test_a_model_that_does_not_run_is_untraceable() -> None:
    proto = model([node("MatMul", ["x", "w"], "y")], {"w": numbers(7, 2)}, shape=("n", 5))
    with pytest.raises(Untraceable, match="ONNX Runtime must be able to"):
        trace(proto)


def test_an_example_names_the_inputs() -> None:
    proto = model([node("Relu", ["x"], "y")], {})
    with pytest.raises(BadValue, match="names of the example must be"):
        trace(proto, other=np.zeros((2, 3), np.float32))


def test_an_open_size_that_only_one_value_fits_is_found() -> None:
    flat = node("Flatten", ["x"], "flat")
    proto = model(
        [flat, node("MatMul", ["flat", "w"], "y")], {"w": numbers(3 * 64 * 64, 2)}, ("n", 3, "h", "w")
    )
    assert trace(proto).trial.feeds["x"].shape == (2, 3, 64, 64)


def test_open_sizes_of_one_name_are_equal() -> None:
    proto = model([node("Add", ["x", "z"], "y")], {}, ("time", "batch", 4))
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, "batch", 4]))
    feeds = trace(proto).trial.feeds
    assert (feeds["x"].shape[0], feeds["x"].shape[1]) == (2, feeds["z"].shape[1])


# Settling.


def test_constants_become_initialisers_and_moved_weights_are_stored_as_moved() -> None:
    made = helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(numbers(4, 3, 1, 1)))
    turn = node("Transpose", ["v"], "t", perm=[1, 0])
    proto = model(
        [
            made,
            node("Conv", ["x", "w"], "c"),
            node("GlobalAveragePool", ["c"], "g"),
            node("Flatten", ["g"], "f"),
            turn,
            node("MatMul", ["f", "t"], "y"),
        ],
        {"v": numbers(5, 4)},
    )
    settled = settle(proto)
    assert [n.op_type for n in settled.model.graph.node] == ["Conv", "GlobalAveragePool", "Flatten", "MatMul"]
    assert {t.name: tuple(t.dims) for t in settled.model.graph.initializer} == {
        "w": (4, 3, 1, 1),
        "t": (4, 5),
    }


def test_a_shared_vector_is_copied_for_each_use_but_a_shared_matrix_is_not() -> None:
    nodes = [node("Add", ["x", "b"], "p"), node("Mul", ["p", "b"], "q"), node("MatMul", ["q", "w"], "r")]
    settled = settle(model([*nodes, node("MatMul", ["r", "w"], "y")], {"b": numbers(6), "w": numbers(6, 6)}))
    assert settled.copies == {"b_1": "b"}
    assert [list(n.input) for n in settled.model.graph.node][1:] == [["p", "b_1"], ["q", "w"], ["r", "w"]]


def test_initialisers_listed_as_inputs_become_fixed() -> None:
    proto = model([node("Add", ["x", "b"], "y")], {"b": numbers(6)})
    proto.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [6]))
    assert [i.name for i in settle(proto).model.graph.input] == ["x"]


def test_local_functions_are_written_out() -> None:
    inner = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )
    call = helper.make_node("Twice", ["x"], ["y"], domain="own")
    proto = model([call], {})
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.append(inner)
    assert kinds(proto) == ["elementwise"]


# Operators.


@pytest.mark.parametrize(
    ("options", "padded"),
    [
        ({}, False),
        ({"pads": [0, 0, 0, 0]}, False),
        ({"pads": [0, 0, 0, 1]}, True),
        ({"auto_pad": "VALID"}, False),
        ({"auto_pad": "SAME_UPPER"}, True),
    ],
)
def test_a_convolution_knows_whether_it_pads(options: dict[str, Any], padded: bool) -> None:
    proto = model([node("Conv", ["x", "w"], "y", **options)], {"w": numbers(4, 3, 3, 3)})
    assert last(proto).attributes["padded"] is padded


@pytest.mark.parametrize(
    ("kernel", "options", "even"), [(1, {}, True), (1, {"strides": [2, 2]}, False), (2, {}, False)]
)
def test_a_transposed_convolution_is_even_only_where_all_positions_are_reached_alike(
    kernel: int, options: dict[str, Any], even: bool
) -> None:
    proto = model([node("ConvTranspose", ["x", "w"], "y", **options)], {"w": numbers(3, 4, kernel, kernel)})
    assert last(proto).attributes["padded"] is not even


def test_gemm_and_matmul_know_where_their_rows_are() -> None:
    weights = {"w": numbers(4, 5), "b": numbers(4)}
    gemm = node("Gemm", ["x", "w", "b"], "y", transB=1)
    assert last(model([gemm], weights, (2, 5))).attributes["w_out"] == 0
    product = [node("MatMul", ["x", "w"], "p"), node("Add", ["b", "p"], "y")]
    found = last(model(product, {"w": numbers(5, 4), "b": numbers(4)}, (2, 5)))
    assert (found.kind, found.attributes["w_out"], found.inputs[2] is not None) == ("linear", 1, True)


def test_a_scaled_gemm_is_a_linear_layer_and_products() -> None:
    gemm = node("Gemm", ["x", "w", "b"], "y", alpha=0.5, beta=2.0)
    proto = model([gemm], {"w": numbers(5, 4), "b": numbers(4)}, (2, 5))
    assert kinds(proto) == ["linear", "elementwise", "elementwise", "elementwise"]


def test_a_product_of_two_activations_is_no_linear_layer() -> None:
    turn = node("Transpose", ["x"], "t", perm=[0, 1, 3, 2])
    assert kinds(model([turn, node("MatMul", ["x", "t"], "y")], {})) == ["permute", "matmul"]


def test_sizes_computed_in_the_file_are_no_operators() -> None:
    nodes = [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "zero"], "n"),
        node("Unsqueeze", ["n", "axis"], "nn"),
    ]
    nodes += [node("Concat", ["nn", "rest"], "shape", axis=0), node("Reshape", ["x", "shape"], "y")]
    tensors = {"zero": np.asarray(0, np.int64), "axis": whole(0), "rest": whole(-1)}
    proto = model(nodes, tensors, ("n", 3, 4, 4))
    assert kinds(proto) == ["reshape"]
    assert trace(proto).graph.shape(trace(proto).graph.outputs[0]) == (2, 48)


@pytest.mark.parametrize(
    ("options", "keeps"),
    [
        ({}, "any"),
        ({"pads": [1, 1, 1, 1]}, "any"),
        ({"pads": [1, 1, 1, 1], "count_include_pad": 1}, "zero"),
        ({"ceil_mode": 1}, "zero"),
    ],
)
def test_an_average_over_padding_keeps_only_zeros(options: dict[str, Any], keeps: str) -> None:
    proto = model([node("AveragePool", ["x"], "y", kernel_shape=[2, 2], **options)], {})
    assert last(proto).attributes["keeps"] == keeps


def test_what_mixes_old_softmax_axes_has_no_rule() -> None:
    assert kinds(model([node("Softmax", ["x"], "y", axis=1)], {}, opset=11)) == ["opaque"]
    assert kinds(model([node("Softmax", ["x"], "y", axis=1)], {}, opset=13)) == ["softmax"]


def test_group_norm_before_opset_21_scales_groups_and_has_no_rule() -> None:
    group = node("GroupNormalization", ["x", "s", "b"], "y", num_groups=2)
    assert kinds(model([group], {"s": numbers(2), "b": numbers(2)}, (2, 4, 6, 6), opset=18)) == ["opaque"]
    assert kinds(model([group], {"s": numbers(4), "b": numbers(4)}, (2, 4, 6, 6), opset=21)) == ["group_norm"]


def test_an_operator_without_a_rule_is_named() -> None:
    found = last(model([node("CumSum", ["x", "axis"], "y")], {"axis": np.asarray(1, np.int64)}))
    assert (found.kind, found.source) == ("opaque", "CumSum")


def test_an_operators_inner_graph_reads_what_it_takes_from_outside() -> None:
    inner = helper.make_graph(
        [node("Add", ["w", "w"], "z")],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    flag = node("Cast", ["first"], "flag", to=TensorProto.BOOL)
    nodes = [node("ReduceMax", ["x"], "first", keepdims=0), flag]
    proto = model(
        [*nodes, node("If", ["flag"], "y", then_branch=inner, else_branch=inner)], {"w": numbers(4)}
    )
    found = trace(proto)
    assert found.number["w"] in next(n for n in found.graph.nodes if n.source == "If").inputs


ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("Abs", {}), ("Celu", {"alpha": 0.7}), ("Cos", {}), ("Elu", {"alpha": 0.7}), ("Erf", {}), ("Exp", {}),
    ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 1 / 6}),
    ("HardSwish", {}), ("Identity", {}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("Mish", {}),
    ("Neg", {}), ("Reciprocal", {}), ("Relu", {}), ("Selu", {}), ("Sigmoid", {}), ("Sin", {}),
    ("Softplus", {}), ("Softsign", {}), ("Tanh", {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "options"), ACTIVATIONS)
def test_a_constant_becomes_what_the_standard_makes_of_it(op: str, options: dict[str, Any]) -> None:
    constants = np.asarray([-3.7, -1.0, -0.3, 0.5, 1.7, 5.0], np.float32)
    nodes = [node("Mul", ["x", "z"], "a"), node("Add", ["a", "c"], "b"), node(op, ["b"], "y", **options)]
    proto = model(nodes, {"z": np.zeros(6, np.float32), "c": constants}, (2, 6), opset=22)
    found = trace(proto)
    known = learn(found.graph).const[found.graph.outputs[0]]
    wanted = evaluator(widen(proto)).run(None, {"x": np.ones((2, 6))})[0]
    np.testing.assert_allclose(np.broadcast_to(known, (2, 6)), wanted, rtol=0, atol=1e-12)


def test_clip_takes_its_bounds_from_the_file() -> None:
    proto = model([node("Clip", ["x", "", "six"], "y")], {"six": np.asarray(6, np.float32)})
    assert last(proto).attributes["options"] == {"low": None, "high": 6.0}
