# SPDX-License-Identifier: Apache-2.0
"""Files with quantised weights come out smaller, and every whole number that stays is the one that was there."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto

from edgeshift.core.errors import Untraceable
from edgeshift.graph import shrink_onnx
from edgeshift.graph.onnx_model import settle
from edgeshift.graph.onnx_proof import quantised_tolerance
from edgeshift.graph.onnx_reference import evaluator
from edgeshift.graph.rules.elementwise import FUNCTIONS
from tests.graph.onnx_graphs import Array, model, node, run, shapes, stored

# Small enough that no kernel's 16-bit sum of two products saturates.
HIGH = 60


def whole(*shape: int, seed: int = 0, kind: type = np.int8) -> Array:
    """Whole numbers, none of them zero."""
    return np.random.default_rng(seed).integers(1, HIGH, shape).astype(kind)


def scales(count: int, seed: int = 5) -> Array:
    """Different for each row."""
    return np.random.default_rng(seed).uniform(0.001, 0.01, count).astype(np.float32)


def activation(name: str, out: str) -> tuple[list[NodeProto], dict[str, Array]]:
    """Quantised and back, 8 bits without sign."""
    nodes = [
        node("QuantizeLinear", [name, f"{out}_s", f"{out}_z"], f"{out}_q"),
        node("DequantizeLinear", [f"{out}_q", f"{out}_s", f"{out}_z"], out),
    ]
    return nodes, {f"{out}_s": np.float32(0.02), f"{out}_z": np.uint8(3)}


def weight(
    name: str, numbers: Array, scale: Array, axis: int = 0
) -> tuple[list[NodeProto], dict[str, Array]]:
    """Stored as whole numbers."""
    inputs = [f"{name}_q", f"{name}_s", f"{name}_z"]
    tensors = dict(zip(inputs, (numbers, scale, np.zeros(np.shape(scale), numbers.dtype)), strict=True))
    return [node("DequantizeLinear", inputs, name, axis=axis)], tensors


def network(
    first: Array, second: Array, scale: Array, *, operator: str = "Conv", groups: int = 1
) -> ModelProto:
    """x -> a -> relu -> b -> y, all quantised; `first` has a bias."""
    parts = [
        activation("x", "xd"),
        weight("a", first, scale),
        weight("ab", whole(len(first), seed=2, kind=np.int32), scales(len(first), 6)),
        activation("r", "rd"),
        weight("b", second, scales(len(second), 7)),
    ]
    steps = [[*nodes] for nodes, _ in parts]
    steps.insert(3, [node("Conv", ["xd", "a", "ab"], "h"), node("Relu", ["h"], "r")])
    if operator == "Conv":
        steps.append([node("Conv", ["rd", "b"], "y", group=groups)])
    else:
        steps.append([node("GlobalAveragePool", ["rd"], "m"), node("Flatten", ["m"], "f")])
        steps.append([node("Gemm", ["f", "b"], "y", transB=1)])
    tensors = {k: v for _, part in parts for k, v in part.items()}
    return model([n for step in steps for n in step], tensors)


def dead(numbers: Array, tensors: ModelProto, rows: list[int]) -> ModelProto:
    """The same network with some filters of the first layer, and their biases, zero."""
    numbers[rows] = 0
    for tensor in tensors.graph.initializer:
        if tensor.name in ("a_q", "ab_q"):
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[rows] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return tensors


@pytest.mark.parametrize("operator", ["Conv", "Gemm"])
def test_dead_filters_go_with_their_scales_and_biases(operator: str) -> None:
    first, second, scale = whole(6, 3, 3, 3), whole(4, 6, 1, 1, seed=1), scales(6)
    second = second if operator == "Conv" else second[:, :, 0, 0]
    proto = dead(first, network(first, second, scale, operator=operator), [1, 4])
    shrunk = shrink_onnx(proto)
    stays = [0, 2, 3, 5]
    for name, before in (("a_q", first), ("a_s", scale)):
        np.testing.assert_array_equal(stored(shrunk.model, name), before[stays])
    np.testing.assert_array_equal(stored(shrunk.model, "b_q"), second[:, stays])
    assert {
        k: v for k, v in shapes(shrunk.model).items() if k in ("a_z", "ab_q", "ab_s", "ab_z")
    } == dict.fromkeys(("a_z", "ab_q", "ab_s", "ab_z"), (4,))
    assert stored(shrunk.model, "b_s").shape == (4,)  # the rows of the second layer all stay
    assert stored(shrunk.model, "a_q").dtype == np.int8
    assert shrunk.proof is not None
    assert shrunk.proof.max_error_float64 == 0
    x = np.random.default_rng(3).standard_normal((2, 3, 6, 6)).astype(np.float32)
    assert np.array_equal(run(proto, x)[0], run(shrunk.model, x)[0])
    assert shrunk.report.after.parameters < shrunk.report.before.parameters


@pytest.mark.parametrize("opset", [11, 13, 19, 21])
def test_one_scale_for_all_stays(opset: int) -> None:
    first, second = whole(6, 3, 3, 3), whole(4, 6, 1, 1, seed=1)
    proto = dead(first, network(first, second, np.float32(0.004)), [0])
    proto.opset_import[0].version = opset
    if opset < 13:  # no axes yet
        for name in ("ab", "b"):
            del next(n for n in proto.graph.node if n.output[0] == name).attribute[:]
        for tensor in proto.graph.initializer:
            if tensor.name in ("ab_s", "ab_z", "b_s", "b_z"):
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)[0], tensor.name)
                )
        del next(n for n in proto.graph.node if n.output[0] == "a").attribute[:]
    shrunk = shrink_onnx(proto)
    assert shapes(shrunk.model)["a_q"] == (5, 3, 3, 3)
    assert shapes(shrunk.model)["a_s"] == ()


def test_depthwise_filters_go_with_their_channels() -> None:
    first, second = whole(6, 3, 3, 3), whole(6, 1, 3, 3, seed=1)
    proto = network(first, second, scales(6), groups=6)
    tail, tensors = activation("y", "yd")
    nodes, more = weight("c", whole(2, 6, 1, 1, seed=4), scales(2, 8))
    proto.graph.node.extend([*tail, *nodes, node("Conv", ["yd", "c"], "end")])
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in {**tensors, **more}.items()
    )
    proto.graph.output[0].name = "end"
    shrunk = shrink_onnx(dead(first, proto, [2, 5]))
    sizes = shapes(shrunk.model)
    assert (sizes["a_q"], sizes["b_q"], sizes["b_s"], sizes["c_q"]) == (
        (4, 3, 3, 3), (4, 1, 3, 3), (4,), (2, 4, 1, 1),
    )  # fmt: skip


def test_a_constant_that_a_quantised_bias_cannot_take_keeps_its_channel() -> None:
    first, second = whole(6, 3, 3, 3), whole(4, 6, 1, 1, seed=1)
    proto = network(first, second, scales(6))
    for tensor in proto.graph.initializer:
        if tensor.name == "a_q":
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[1] = 0  # its bias is not
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, "a_q"))
    shrunk = shrink_onnx(proto)
    assert shapes(shrunk.model)["a_q"] == (6, 3, 3, 3)


def test_a_dead_quantised_branch_stays_where_its_sum_is_whole_numbers() -> None:
    """A float constant would take the sum out of a runtime's integer kernels."""
    nodes, tensors = [], {}
    for made, numbers in (activation("x", "xd"), weight("a", np.zeros((3, 3, 1, 1), np.int8), scales(3))):
        nodes += made
        tensors |= numbers
    bias, more = weight("ab", whole(3, kind=np.int32), scales(3))
    last, rest = activation("h", "hd")
    add = [
        *bias,
        node("Conv", ["xd", "a", "ab"], "h"),
        *last,
        node("Add", ["hd", "xd"], "s"),
        node("Relu", ["s"], "y"),
    ]
    kinds = [n.op_type for n in shrink_onnx(model([*nodes, *add], tensors | more | rest)).model.graph.node]
    assert "Conv" in kinds
    assert "Add" in kinds


def test_quantising_a_constant() -> None:
    """Steps of 0.5 from zero point 3, 0..10: by hand; next to a jump nobody knows."""
    found = FUNCTIONS["quantize"](np.array([0, 1.1, -9, 9, 0.75, 0.2500001]), 0.5, 3.0, 0.0, 10.0)
    np.testing.assert_array_equal(found, [3, 5, 0, 10, np.nan, np.nan])
    np.testing.assert_allclose(FUNCTIONS["dequantize"](np.array([3.0, 5.0]), 0.5, 3.0), [0, 1])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_reference_agrees_with_onnx_runtime(axis: int) -> None:
    """Halves go to the even step."""
    x = np.array([[-1.5, 0.5, 1.5], [2.5, 300, -300]], np.float32)
    count = x.shape[axis]
    tensors = {"s": np.ones(count, np.float32), "z": np.arange(count).astype(np.uint8)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], "q", axis=axis),
        node("DequantizeLinear", ["q", "s", "z"], "y", axis=axis),
    ]
    proto = model(nodes, tensors, (2, 3), outputs=("q", "y"))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for ours, theirs in zip(evaluator(proto).run(None, {"x": x}), run(proto, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_the_reference_does_not_know_is_said() -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s"], "q", axis=1, block_size=3),
        node("DequantizeLinear", ["q", "s"], "y", axis=1, block_size=3),
    ]
    proto = model(nodes, {"s": np.ones((2, 2), np.float32)}, (2, 6), opset=21)
    with pytest.raises(Untraceable):
        shrink_onnx(proto)


def floats_of(proto: ModelProto, names: tuple[str, ...]) -> ModelProto:
    """The same network with those weights as floats, off their steps, that the file itself quantises."""
    axes = {n.output[0]: n.attribute for n in proto.graph.node if n.op_type == "DequantizeLinear"}
    for name in names:
        scale, steps = stored(proto, f"{name}_s"), stored(proto, f"{name}_q")
        off = np.random.default_rng(9).uniform(-0.4, 0.4, steps.shape) * (steps != 0)
        numbers = ((steps + off) * scale.reshape(-1, *(1,) * (steps.ndim - 1))).astype(np.float32)
        old = next(t for t in proto.graph.initializer if t.name == f"{name}_q")
        old.CopyFrom(onnx.numpy_helper.from_array(numbers, f"{name}_w"))
        quantise = node("QuantizeLinear", [f"{name}_w", f"{name}_s", f"{name}_z"], f"{name}_q")
        quantise.attribute.extend(axes[name])
        proto.graph.node.insert(0, quantise)
    return proto


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_weights_that_the_file_quantises_are_stored_as_what_that_makes_of_them(opset: int) -> None:
    first, second, scale = whole(6, 3, 3, 3), whole(4, 6, 1, 1, seed=1), scales(6)
    plain = dead(first, network(first, second, scale), [1, 4])
    plain.opset_import[0].version = opset
    trained = floats_of(ModelProto.FromString(plain.SerializeToString()), ("a", "b"))
    x = np.random.default_rng(3).standard_normal((2, 3, 6, 6)).astype(np.float32)
    assert np.array_equal(run(trained, x)[0], run(plain, x)[0])  # the steps are the same
    shrunk, known = shrink_onnx(trained), shrink_onnx(plain)
    assert {t.name for t in shrunk.model.graph.initializer} == {t.name for t in known.model.graph.initializer}
    for name in ("a_q", "b_q", "a_s"):
        np.testing.assert_array_equal(stored(shrunk.model, name), stored(known.model, name))
    assert [n.op_type for n in shrunk.model.graph.node].count("QuantizeLinear") == 2  # of activations
    assert np.array_equal(run(shrunk.model, x)[0], run(plain, x)[0])
    assert shrunk.proof is not None
    assert shrunk.proof.max_error_float64 == 0


def test_weights_that_operators_make_before_they_are_quantised_are_stored_too() -> None:
    # As exporters write them: the zero point is cast, the scale is a Constant, the weight is clipped.
    first, second, scale = whole(6, 3, 3, 3), whole(4, 6, 1, 1, seed=1), scales(6)
    proto = floats_of(dead(first, network(first, second, scale), [2]), ("a",))
    zero = next(t for t in proto.graph.initializer if t.name == "a_z")
    wide = onnx.numpy_helper.to_array(zero).astype(np.int64)
    zero.CopyFrom(onnx.numpy_helper.from_array(wide, "a_wide"))
    held = next(t for t in proto.graph.initializer if t.name == "a_s")
    proto.graph.initializer.remove(held)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "limit"))
    proto.graph.node[0].input[0] = "a_clipped"
    for made in (
        node("Clip", ["a_w", "", "limit"], "a_clipped"),
        node("Constant", [], "a_s", value=held),
        node("Cast", ["a_wide"], "a_z", to=onnx.TensorProto.INT8),
    ):
        proto.graph.node.insert(0, made)
    shrunk = shrink_onnx(proto)
    assert stored(shrunk.model, "a_q").shape == (5, 3, 3, 3)
    assert not {"Clip", "a_w", "limit"} & {
        *(n.op_type for n in shrunk.model.graph.node),
        *(t.name for t in shrunk.model.graph.initializer),
    }
    x = np.random.default_rng(3).standard_normal((2, 3, 6, 6)).astype(np.float32)
    assert np.array_equal(run(shrunk.model, x)[0], run(proto, x)[0])


def test_whole_numbers_that_something_else_reads_stay_as_they_are_made() -> None:
    first, second = whole(6, 3, 3, 3), whole(4, 6, 1, 1, seed=1)
    proto = floats_of(network(first, second, scales(6)), ("a",))
    proto.graph.node.append(node("Cast", ["a_q"], "seen", to=onnx.TensorProto.FLOAT))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("seen", onnx.TensorProto.FLOAT, None))
    shrunk = shrink_onnx(proto)
    assert [n.op_type for n in shrunk.model.graph.node].count("QuantizeLinear") == 3


def test_a_quantised_output_may_land_a_step_away() -> None:
    nodes, tensors = activation("x", "y")
    nodes.append(node("Identity", ["y"], "z"))
    settled = settle(model(nodes, tensors, outputs=("z",)))
    # Steps of 0.02 of at most 0.1: a fifth, beside what is allowed within.
    assert quantised_tolerance(settled, [np.asarray([0.04, -0.1])]) == pytest.approx(0.05 + 0.2)
    assert quantised_tolerance(settled, [np.zeros(2)]) == 0.05
    plain = settle(model([node("Relu", ["x"], "y")], {}))
    assert quantised_tolerance(plain, [np.ones(2)]) == 0.05
