# SPDX-License-Identifier: Apache-2.0
"""ONNX files come out smaller, equal, and without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from edgeshift.core.errors import NotExact, Untraceable
from edgeshift.graph import ShrunkOnnx, shrink_onnx
from edgeshift.graph.fronts.onnx import trace_onnx
from edgeshift.graph.onnx_cut import cut_onnx
from edgeshift.graph.onnx_model import read, settle, try_out
from edgeshift.graph.onnx_proof import Pair, prove_onnx, widen
from edgeshift.graph.onnx_shrink import decide
from tests.graph.onnx_graphs import Array, model, node, numbers, run, shapes, stored, whole


def equal(proto: ModelProto, *, batch: int = 0) -> ShrunkOnnx:
    """Shrink, and compare in ONNX Runtime on an input of our own."""
    shrunk = shrink_onnx(proto)
    assert shrunk.proof is not None
    onnx.checker.check_model(shrunk.model, full_check=True)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    shape = [d.dim_value or (batch or 3) for d in dims]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    for a, b in zip(run(proto, x), run(shrunk.model, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * float(np.abs(a).max(initial=1)))
    return shrunk


def two_convs(first: Array, second: Array, bias: Array | None = None, **options: object) -> ModelProto:
    """x -> conv a -> relu -> conv b -> y; `options` are those of b."""
    tensors = {"a.weight": first, "b.weight": second, **({} if bias is None else {"a.bias": bias})}
    inputs = ["x", "a.weight", *([] if bias is None else ["a.bias"])]
    nodes = [
        node("Conv", inputs, "h"),
        node("Relu", ["h"], "r"),
        node("Conv", ["r", "b.weight"], "y", **options),
    ]
    return model(nodes, tensors)


# What goes.


def test_a_zero_filter_and_an_unread_one_go_from_both_layers() -> None:
    first, second = numbers(8, 3, 3, 3), numbers(4, 8, 1, 1)
    first[[1, 5]] = 0
    second[:, 7] = 0
    shrunk = equal(two_convs(first, second))
    assert shapes(shrunk.model) == {"a.weight": (5, 3, 3, 3), "b.weight": (4, 5, 1, 1)}
    np.testing.assert_array_equal(stored(shrunk.model, "a.weight"), first[[0, 2, 3, 4, 6]])
    assert shrunk.report.constant == {"a": 2}
    assert shrunk.report.unread == {"a": 1}
    assert (shrunk.report.before.parameters, shrunk.report.after.parameters) == (8 * 27 + 32, 5 * 27 + 20)


def test_a_constant_goes_into_a_bias_that_comes_new() -> None:
    first, second, bias = numbers(4, 3, 3, 3), numbers(2, 4, 1, 1), np.zeros(4, np.float32)
    first[2], bias[2] = 0, 0.5
    shrunk = equal(two_convs(first, second, bias))
    assert shapes(shrunk.model)["b.bias"] == (2,)
    np.testing.assert_allclose(stored(shrunk.model, "b.bias"), 0.5 * second[:, 2, 0, 0], rtol=1e-6)


def test_constants_before_zero_padding_end_in_one_channel() -> None:
    first, second, bias = numbers(6, 3, 3, 3), numbers(2, 6, 3, 3), np.zeros(6, np.float32)
    first[[1, 2, 4]] = 0
    bias[[1, 2, 4]] = 0.5, 2.0, 1.0
    shrunk = equal(two_convs(first, second, bias, pads=[1, 1, 1, 1]))
    assert shapes(shrunk.model) == {"a.weight": (4, 3, 3, 3), "a.bias": (4,), "b.weight": (2, 4, 3, 3)}


def test_batch_norm_shrinks_with_its_convolution() -> None:
    tensors = {
        "w": numbers(4, 3, 1, 1),
        "s": numbers(4),
        "b": np.zeros(4, np.float32),
        "m": numbers(4),
        "v": numbers(4),
    }
    tensors["s"][1] = 0
    nodes = [node("Conv", ["x", "w"], "h"), node("BatchNormalization", ["h", "s", "b", "m", "v"], "n")]
    proto = model([*nodes, node("Conv", ["n", "u"], "y")], {**tensors, "u": numbers(2, 4, 1, 1)})
    shrunk = equal(proto)
    assert [shapes(shrunk.model)[n] for n in ("w", "s", "b", "m", "v")] == [(3, 3, 1, 1)] + [(3,)] * 4
    # 4 x 3 + 4 + 4 + 2 x 4; mean and variance are no parameters
    assert (shrunk.report.before.parameters, shrunk.report.after.parameters) == (28, 21)


def test_statistics_that_layers_share_do_not_tie_them() -> None:
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    first, second, third = numbers(4, 3, 1, 1), numbers(4, 4, 1, 1, seed=1), numbers(2, 4, 1, 1)
    first[0] = 0
    second[:, 1] = 0
    third[:, [2, 3]] = 0
    nodes = [
        node("Conv", ["x", "u"], "a"),
        node("BatchNormalization", ["a", "one", "zero", "zero", "one"], "b"),
    ]
    nodes += [
        node("Conv", ["b", "v"], "c"),
        node("BatchNormalization", ["c", "one", "zero", "zero", "one"], "d"),
    ]
    tensors = {"u": first, "v": second, "w": third, "one": one, "zero": zero}
    shrunk = equal(model([*nodes, node("Conv", ["d", "w"], "y")], tensors))
    assert shapes(shrunk.model) == {
        "u": (2, 3, 1, 1), "v": (2, 2, 1, 1), "w": (2, 2, 1, 1), "one": (2,), "zero": (2,)
    }  # fmt: skip


def test_depthwise_groups_go_with_their_channel() -> None:
    first = numbers(4, 3, 1, 1)
    first[3] = 0
    nodes = [
        node("Conv", ["x", "u"], "a"),
        node("Conv", ["a", "v"], "b", group=4),
        node("Conv", ["b", "w"], "y"),
    ]
    shrunk = equal(model(nodes, {"u": first, "v": numbers(4, 1, 3, 3), "w": numbers(2, 4, 1, 1)}))
    assert shapes(shrunk.model) == {"u": (3, 3, 1, 1), "v": (3, 1, 3, 3), "w": (2, 3, 1, 1)}
    assert helper.get_node_attr_value(shrunk.model.graph.node[1], "group") == 3


def test_matmul_takes_a_constant_into_the_add_behind_it_or_into_one_of_its_own() -> None:
    first = numbers(6, 5)
    first[:, 2] = 0
    bias = np.zeros(5, np.float32)
    bias[2] = 3
    nodes = [node("MatMul", ["x", "u"], "a"), node("Add", ["a", "b"], "c"), node("MatMul", ["c", "v"], "d")]
    tensors = {"u": first, "b": bias, "v": numbers(5, 4), "w": numbers(4, 2), "e": numbers(4)}
    shrunk = equal(model([*nodes, node("MatMul", ["d", "w"], "y")], tensors, (2, 7, 6)))
    assert [n.op_type for n in shrunk.model.graph.node] == ["MatMul", "Add", "MatMul", "Add", "MatMul"]
    np.testing.assert_allclose(stored(shrunk.model, "v.bias"), 3 * tensors["v"][2], rtol=1e-6)
    nodes[2:] = [
        node("MatMul", ["c", "v"], "d"),
        node("Add", ["e", "d"], "f"),
        node("MatMul", ["f", "w"], "y"),
    ]
    shrunk = equal(model(nodes, tensors, (2, 7, 6)))
    assert [n.op_type for n in shrunk.model.graph.node] == ["MatMul", "Add", "MatMul", "Add", "MatMul"]
    np.testing.assert_allclose(stored(shrunk.model, "e"), tensors["e"] + 3 * tensors["v"][2], rtol=1e-6)


def test_a_scaled_gemm_stays_scaled() -> None:
    first = numbers(6, 5)
    first[:, [0, 3]] = 0
    gemm = node("Gemm", ["x", "u", "b"], "h", alpha=0.5, beta=2.0)
    tensors = {"u": first, "b": np.asarray([0, 1, 1, 0, 1], np.float32), "w": numbers(2, 5)}
    shrunk = equal(model([gemm, node("Gemm", ["h", "w"], "y", transB=1)], tensors, (2, 6)))
    assert shapes(shrunk.model) == {"u": (6, 3), "b": (3,), "w": (2, 3)}


def test_an_embedding_loses_columns() -> None:
    table = numbers(9, 6)
    table[:, 4] = 0
    proto = model(
        [node("Cast", ["x"], "i", to=7), node("Gather", ["e", "i"], "h"), node("MatMul", ["h", "w"], "y")], {}
    )
    proto = model(list(proto.graph.node)[1:], {"e": table, "w": numbers(6, 2)}, ("n", 5))
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    proto.graph.node[0].input[1] = "x"
    shrunk = shrink_onnx(proto)
    assert shapes(shrunk.model) == {"e": (9, 5), "w": (5, 2)}
    x = np.asarray([[0, 1, 8, 7, 3]], np.int64)
    np.testing.assert_allclose(run(shrunk.model, x)[0], run(proto, x)[0], rtol=1e-6)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("op", "gates", "candidate"), [("GRU", 3, 2), ("LSTM", 4, 3), ("RNN", 1, 0)])
def test_hidden_units_that_stay_zero_go(op: str, gates: int, candidate: int, both: bool) -> None:
    sides, units = 1 + both, 5
    w, r, b = (
        numbers(sides, gates * units, 3),
        numbers(sides, gates * units, units),
        numbers(sides, 2 * gates * units),
    )
    row = candidate * units + 1  # unit 1 never leaves its zero state
    w[:, row], r[:, row], b[:, row], b[:, gates * units + row] = 0, 0, 0, 0
    direction = "bidirectional" if both else "forward"
    zeros = np.zeros((sides, 2, units), np.float32)
    cell = helper.make_node(
        op, ["x", "w", "r", "b", "", "h"], ["all", "last"], "cell", hidden_size=units, direction=direction
    )
    nodes = [cell, node("Transpose", ["all"], "t", perm=[0, 2, 1, 3]), node("Reshape", ["t", "to"], "flat")]
    tensors = {
        "w": w,
        "r": r,
        "b": b,
        "h": zeros,
        "to": whole(0, 0, sides * units),
        "v": numbers(sides * units, 2),
    }
    shrunk = equal(model([*nodes, node("MatMul", ["flat", "v"], "y")], tensors, (4, 2, 3)))
    kept = shapes(shrunk.model)
    assert (kept["r"], kept["v"]) == ((sides, gates * 4, 4), (sides * 4, 2))
    assert helper.get_node_attr_value(shrunk.model.graph.node[0], "hidden_size") == 4


def test_channels_last_as_converters_from_keras_write_it() -> None:
    first, bias, deep = numbers(5, 3, 3, 3), numbers(5), numbers(5, 1, 3, 3, seed=1)
    first[1], bias[1] = 0, 0
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "u"], "a", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Transpose", ["a"], "b", perm=[0, 2, 3, 1]),
        node("Add", ["b", "bias"], "c"),
        node("Clip", ["c", "low", "high"], "d"),
        node("Transpose", ["d"], "e", perm=[0, 3, 1, 2]),
        node("Conv", ["e", "v"], "f", group=5, auto_pad="SAME_UPPER"),
        node("Transpose", ["f"], "g", perm=[0, 2, 3, 1]),
        node("ReduceMean", ["g", "axes"], "h", keepdims=0),
        node("MatMul", ["h", "w"], "i"),
        node("Softmax", ["i"], "y"),
    ]
    tensors = {"u": first, "bias": bias, "v": deep, "w": numbers(5, 4), "axes": whole(1, 2)}
    tensors |= {"low": np.asarray(0, np.float32), "high": np.asarray(6, np.float32)}
    shrunk = equal(model(nodes, tensors, ("n", 6, 6, 3)))
    kept = shapes(shrunk.model)
    assert [kept[n] for n in ("u", "bias", "v", "w")] == [(4, 3, 3, 3), (4,), (4, 1, 3, 3), (4, 4)]


@pytest.mark.parametrize("both", [False, True])
def test_a_constant_that_a_recurrent_layer_hears_goes_into_its_bias(both: bool) -> None:
    first, bias, sides = numbers(3, 4), np.zeros(4, np.float32), 1 + both
    first[:, 2], bias[2] = 0, 0.5
    w, b = numbers(sides, 6, 4), numbers(sides, 12)
    direction = "bidirectional" if both else "forward"
    cell = helper.make_node("GRU", ["h", "w", "r", "b"], ["y"], "cell", hidden_size=2, direction=direction)
    nodes = [node("MatMul", ["x", "u"], "a"), node("Add", ["a", "c"], "h"), cell]
    shrunk = equal(
        model(nodes, {"u": first, "c": bias, "w": w, "b": b, "r": numbers(sides, 6, 2)}, (5, 2, 3))
    )
    np.testing.assert_array_equal(stored(shrunk.model, "w"), w[:, :, [0, 1, 3]])
    added = np.concatenate([0.5 * w[:, :, 2], np.zeros((sides, 6))], 1)
    np.testing.assert_allclose(stored(shrunk.model, "b"), b + added, rtol=1e-6)


# Sizes that the file spells out.


def flat(shape: list[onnx.NodeProto], tensors: dict[str, Array], size: int | str = "n") -> ModelProto:
    """conv with a dead filter -> flatten by a spelled-out shape -> linear; `shape` makes the tensor `to`."""
    first = numbers(4, 3, 3, 3)
    first[1] = 0
    nodes = [node("Conv", ["x", "u"], "a"), *shape, node("Reshape", ["a", "to"], "b")]
    nodes.append(node("MatMul", ["b", "w"], "y"))
    return model(nodes, {"u": first, "w": numbers(4 * 16, 5), **tensors}, (size, 3, 6, 6))


def test_a_stored_shape_is_rewritten() -> None:
    shrunk = equal(flat([], {"to": whole(-1, 64)}))
    assert shapes(shrunk.model)["w"] == (48, 5)
    new = next(n.input[1] for n in shrunk.model.graph.node if n.op_type == "Reshape")
    np.testing.assert_array_equal(stored(shrunk.model, new), [-1, 48])


def test_a_shape_that_still_fits_is_left_alone() -> None:
    shrunk = equal(flat([], {"to": whole(0, -1)}))
    np.testing.assert_array_equal(stored(shrunk.model, "to"), [0, -1])
    assert shapes(shrunk.model)["w"] == (48, 5)


def computed(*, inner: bool) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """A target shape made of the batch and either a literal or the tensor's own channels."""
    nodes = [node("Shape", ["a"], "s"), node("Gather", ["s", "first"], "n")]
    tensors = {"first": whole(0), "literal": whole(64)}
    if inner:
        nodes += [node("Slice", ["s", "from", "until"], "rest"), node("ReduceProd", ["rest"], "length")]
        tensors |= {"from": whole(1), "until": whole(4)}
    parts = ["n", "length" if inner else "literal"]
    return [*nodes, node("Concat", parts, "to", axis=0)], tensors


@pytest.mark.parametrize("inner", [False, True])
def test_a_computed_shape_follows_and_the_batch_stays_open(inner: bool) -> None:
    shape, tensors = computed(inner=inner)
    proto = flat(shape, tensors)
    shrunk = equal(proto, batch=5)
    assert shapes(shrunk.model)["w"] == (48, 5)
    assert ("Div" in {n.op_type for n in shrunk.model.graph.node}) is not inner


def test_a_size_that_becomes_a_number_of_the_network_keeps_its_channels() -> None:
    shape, tensors = computed(inner=True)
    proto = flat(shape, tensors)
    nodes = list(proto.graph.node)
    nodes[-1:] = [node("Cast", ["length"], "scale", to=1), node("Div", ["b", "scale"], "c")]
    nodes.append(node("MatMul", ["c", "w"], "y"))
    kept = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    shrunk = equal(model(nodes, kept, ("n", 3, 6, 6)))
    assert shapes(shrunk.model)["w"] == (64, 5)


def halves(pick: list[onnx.NodeProto], tensors: dict[str, Array], opset: int = 18) -> ModelProto:
    """conv of 6 channels, 0 and 4 dead -> `pick` makes `p` (0, 1, 2) and `q` (3, 4, 5) -> a conv of each."""
    first = numbers(6, 3, 1, 1)
    first[[0, 4]] = 0
    nodes = [
        node("Conv", ["x", "u"], "a"),
        *pick,
        node("Conv", ["p", "v"], "r"),
        node("Conv", ["q", "w"], "s"),
    ]
    own = {"u": first, "v": numbers(2, 3, 1, 1), "w": numbers(2, 3, 1, 1, seed=1), **tensors}
    return model([*nodes, node("Add", ["r", "s"], "y")], own, opset=opset)


SPLIT = {
    "sizes": ([helper.make_node("Split", ["a", "sizes"], ["p", "q"], axis=1)], {"sizes": whole(3, 3)}, 18),
    "count": ([helper.make_node("Split", ["a"], ["p", "q"], axis=1, num_outputs=2)], {}, 18),
    "attribute": ([helper.make_node("Split", ["a"], ["p", "q"], axis=1, split=[3, 3])], {}, 11),
    "slices": (
        [node("Slice", ["a", "0", "3", "1"], "p"), node("Slice", ["a", "3", "end", "1"], "q")],
        {"0": whole(0), "3": whole(3), "1": whole(1), "end": whole(np.iinfo(np.int64).max)},
        18,
    ),
    "gathers": (
        [node("Gather", ["a", "low"], "p", axis=1), node("Gather", ["a", "high"], "q", axis=1)],
        {"low": whole(0, 1, 2), "high": whole(-3, -2, -1)},
        18,
    ),
}


@pytest.mark.parametrize("way", SPLIT)
def test_unequal_halves_shrink_each_for_itself(way: str) -> None:
    pick, tensors, opset = SPLIT[way]
    first = numbers(6, 3, 1, 1)
    first[[0, 1, 4]] = 0  # two of one half and one of the other
    proto = halves(pick, tensors, opset)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(first, "u"))
    shrunk = equal(proto)
    kept = shapes(shrunk.model)
    assert [kept[n] for n in "uvw"] == [(3, 3, 1, 1), (2, 1, 1, 1), (2, 2, 1, 1)]


def test_a_gather_may_shuffle_channels() -> None:
    first = numbers(4, 3, 1, 1)
    first[2] = 0
    nodes = [
        node("Conv", ["x", "u"], "a"),
        node("Gather", ["a", "i"], "b", axis=1),
        node("Conv", ["b", "w"], "y"),
    ]
    shrunk = equal(model(nodes, {"u": first, "i": whole(3, 2, 1, 0), "w": numbers(2, 4, 1, 1)}))
    index = next(n.input[1] for n in shrunk.model.graph.node if n.op_type == "Gather")
    np.testing.assert_array_equal(stored(shrunk.model, index), [2, 1, 0])


def test_a_stored_expand_is_rewritten() -> None:
    first = numbers(4, 3, 1, 1)
    first[2] = 0
    nodes = [
        node("Conv", ["x", "u"], "a"),
        node("GlobalAveragePool", ["a"], "g"),
        node("Expand", ["g", "to"], "e"),
    ]
    shrunk = equal(
        model(
            [*nodes, node("Conv", ["e", "w"], "y")],
            {"u": first, "to": whole(2, 4, 5, 5), "w": numbers(2, 4, 1, 1)},
        )
    )
    assert shapes(shrunk.model)["u"] == (3, 3, 1, 1)


def test_a_resize_by_sizes_is_rewritten() -> None:
    first = numbers(4, 3, 1, 1)
    first[2] = 0
    nodes = [node("Conv", ["x", "u"], "a"), node("Resize", ["a", "", "", "to"], "e", mode="linear")]
    shrunk = equal(
        model(
            [*nodes, node("Conv", ["e", "w"], "y")],
            {"u": first, "to": whole(2, 4, 9, 7), "w": numbers(2, 4, 1, 1)},
        )
    )
    assert shapes(shrunk.model)["u"] == (3, 3, 1, 1)


def grouped(dead: list[int]) -> ModelProto:
    """A group norm of 4 groups of 2 as exporters write it: reshape, instance norm, reshape, scale, shift."""
    first = numbers(8, 3, 1, 1)
    gamma, beta = numbers(8, 1, 1), numbers(8, 1, 1, seed=1)
    gamma[dead], beta[dead] = 0, 0
    nodes = [node("Conv", ["x", "u"], "a"), node("Reshape", ["a", "in"], "b")]
    nodes += [node("InstanceNormalization", ["b", "one", "zero"], "c"), node("Shape", ["a"], "s")]
    nodes += [
        node("Reshape", ["c", "s"], "d"),
        node("Mul", ["d", "gamma"], "e"),
        node("Add", ["e", "beta"], "f"),
    ]
    tensors = {"u": first, "gamma": gamma, "beta": beta, "in": whole(0, 4, -1), "w": numbers(2, 8, 1, 1)}
    tensors |= {"one": np.ones(4, np.float32), "zero": np.zeros(4, np.float32)}
    return model([*nodes, node("Conv", ["f", "w"], "y")], tensors, ("n", 3, 6, 6))


def test_whole_groups_go_from_a_written_out_group_norm() -> None:
    shrunk = equal(grouped([2, 3]))
    kept = shapes(shrunk.model)
    assert [kept[n] for n in ("u", "one", "gamma", "w")] == [(6, 3, 1, 1), (3,), (6, 1, 1), (2, 6, 1, 1)]


def test_half_a_group_stays_for_its_statistics() -> None:
    shrunk = equal(grouped([0, 2, 4, 6]))
    assert shapes(shrunk.model)["u"] == (8, 3, 1, 1)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_becomes_space_in_whole_blocks(mode: str) -> None:
    first, last = numbers(12, 3, 1, 1), numbers(2, 3, 1, 1)
    last[:, 1] = 0  # nobody reads the second of three channels, made of four
    nodes = [node("Conv", ["x", "u"], "a"), node("DepthToSpace", ["a"], "b", blocksize=2, mode=mode)]
    shrunk = equal(model([*nodes, node("Conv", ["b", "w"], "y")], {"u": first, "w": last}))
    left = [4, 5, 6, 7] if mode == "CRD" else [1, 4, 7, 10]
    np.testing.assert_array_equal(stored(shrunk.model, "u"), np.delete(first, left, 0))


def test_space_becomes_depth_in_whole_blocks() -> None:
    first = numbers(3, 3, 1, 1)
    first[1] = 0
    last = numbers(2, 12, 1, 1)
    nodes = [node("Conv", ["x", "u"], "a"), node("SpaceToDepth", ["a"], "b", blocksize=2)]
    shrunk = equal(model([*nodes, node("Conv", ["b", "w"], "y")], {"u": first, "w": last}))
    np.testing.assert_array_equal(stored(shrunk.model, "w"), np.delete(last, [1, 4, 7, 10], 1))


def test_a_mask_of_minus_infinities_before_a_softmax_stops_nothing() -> None:
    first = numbers(6, 5)
    first[:, 2] = 0
    mask = np.where(np.tri(4, dtype=bool), 0, -np.inf).astype(np.float32)
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 2, 1]),
        node("MatMul", ["x", "t"], "a"),
        node("Add", ["a", "m"], "b"),
    ]
    nodes += [node("Softmax", ["b"], "c"), node("MatMul", ["c", "x"], "d"), node("MatMul", ["d", "u"], "e")]
    tensors = {"m": mask, "u": first, "w": numbers(5, 2)}
    shrunk = equal(model([*nodes, node("MatMul", ["e", "w"], "y")], tensors, ("n", 4, 6)))
    assert shapes(shrunk.model)["u"] == (6, 4)


# What stays.


def test_infinity_elsewhere_keeps_what_it_could_spoil() -> None:
    first, bias = numbers(4, 3, 1, 1), numbers(4)
    bias[0] = np.inf
    second = numbers(2, 4, 1, 1)
    second[:, 0] = 0  # zero times infinity is no number
    tensors = {"u": first, "b": bias, "w": second}
    shrunk = shrink_onnx(model([node("Conv", ["x", "u", "b"], "a"), node("Conv", ["a", "w"], "y")], tensors))
    assert shapes(shrunk.model)["u"] == (4, 3, 1, 1)


def test_outputs_keep_their_channels() -> None:
    first = numbers(4, 3, 1, 1)
    first[1] = 0
    shrunk = equal(model([node("Conv", ["x", "u"], "y")], {"u": first}))
    assert shapes(shrunk.model) == {"u": (4, 3, 1, 1)}


def test_an_operator_without_a_rule_keeps_channels_and_is_named() -> None:
    first = numbers(4, 3, 1, 1)
    first[1] = 0
    nodes = [node("Conv", ["x", "u"], "a"), node("CumSum", ["a", "axis"], "b"), node("Conv", ["b", "w"], "y")]
    shrunk = equal(model(nodes, {"u": first, "axis": np.asarray(2, np.int32), "w": numbers(2, 4, 1, 1)}))
    assert shapes(shrunk.model)["u"] == (4, 3, 1, 1)
    assert shrunk.report.unruled == {"CumSum": 1}


def test_all_channels_dead_leaves_one() -> None:
    shrunk = equal(two_convs(np.zeros((4, 3, 3, 3), np.float32), numbers(2, 4, 1, 1)))
    assert shapes(shrunk.model) == {"a.weight": (1, 3, 3, 3), "b.weight": (2, 1, 1, 1)}


def test_half_precision_stays_half_precision() -> None:
    first, second = numbers(4, 3, 3, 3), numbers(2, 4, 1, 1)
    first[1] = 0
    proto = two_convs(first, second)
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    shrunk = shrink_onnx(proto)
    assert stored(shrunk.model, "a.weight").dtype == np.float16
    assert shapes(shrunk.model)["a.weight"] == (3, 3, 3, 3)


# The door.


def test_the_input_is_not_changed_and_the_bytes_are_always_the_same() -> None:
    first = numbers(8, 3, 3, 3)
    first[1] = 0
    proto = two_convs(first, numbers(4, 8, 1, 1))
    before = proto.SerializeToString(deterministic=True)
    once, again = shrink_onnx(proto).to_bytes(), shrink_onnx(before).to_bytes()
    assert proto.SerializeToString(deterministic=True) == before
    assert once == again
    assert len(once) < len(before)


def test_sizes_inside_are_inferred_anew() -> None:
    first = numbers(8, 3, 3, 3)
    first[1] = 0
    proto = onnx.shape_inference.infer_shapes(two_convs(first, numbers(4, 8, 1, 1)))
    shrunk = shrink_onnx(proto).model
    found = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in shrunk.graph.value_info}
    assert found["h"] == [2, 7, 4, 4]


def test_the_proof_lists_what_it_had_time_for() -> None:
    proto = two_convs(numbers(4, 3, 3, 3), numbers(2, 4, 1, 1))
    proof = shrink_onnx(proto, proof_seconds=0).proof
    assert proof is not None
    assert (proof.kinds, proof.inputs) == (("random",), 1)
    proof = shrink_onnx(proto).proof
    assert proof is not None
    assert proof.kinds == ("random", "border", "zeros", "large")


def test_an_open_batch_is_tried_with_another_size() -> None:
    proof = shrink_onnx(flat([], {"to": whole(-1, 64)})).proof
    assert proof is not None
    assert "other batch" in proof.kinds


def test_no_proof_where_none_is_asked() -> None:
    assert shrink_onnx(two_convs(numbers(4, 3, 3, 3), numbers(2, 4, 1, 1)), prove_it=False).proof is None


def test_a_wrong_cut_is_not_exact_and_names_the_first_tensor() -> None:
    first = numbers(4, 3, 3, 3)
    first[1] = 0
    proto = read(two_convs(first, numbers(2, 4, 1, 1)))
    settled = settle(proto)
    trace = trace_onnx(settled, try_out(settled, None))
    verdict, spelled = decide(trace)
    wide = cut_onnx(trace, verdict, spelled, widen(settled.model))
    wrong = wide.graph.initializer[0]
    wrong.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(wrong) * 1.001, wrong.name))
    small = cut_onnx(trace, verdict, spelled)
    with pytest.raises(
        NotExact, match=r"within 1e-09 in float64, got .* on random input; first difference in tensor h"
    ):
        prove_onnx(Pair(proto, small), Pair(widen(proto), wide), trace, verdict, 1e-9, 10.0)


def test_an_operator_the_reference_lacks_is_untraceable() -> None:
    gelu = helper.make_node("FastGelu", ["h"], ["y"], domain="com.microsoft")
    proto = model([node("Conv", ["x", "u"], "h"), gelu], {"u": numbers(4, 3, 1, 1)})
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(Untraceable, match="every operator must be known to ONNX's reference"):
        shrink_onnx(proto)
    assert shrink_onnx(proto, prove_it=False).report.unruled == {"com.microsoft.FastGelu": 1}


def test_torch_is_never_imported(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(two_convs(numbers(4, 3, 3, 3), numbers(2, 4, 1, 1)).SerializeToString())
    program = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'onnxscript', 'onnx_ir'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from pathlib import Path\n"
        "from edgeshift.graph import shrink_onnx\n"
        "from edgeshift.derive import shrink_onnx_file\n"
        f"print(shrink_onnx(Path({str(path)!r})).proof.inputs)\n"
        f"shrink_onnx_file(Path({str(path)!r}), Path({str(tmp_path / 'small.onnx')!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4\n"


def test_tiled_channels_go_with_all_their_copies() -> None:
    first, second = numbers(4, 3, 1, 1), numbers(2, 8, 1, 1)
    first[1] = 0
    second[:, [2, 6, 3]] = 0  # of channel 3 one copy is read
    nodes = [node("Conv", ["x", "a"], "h"), node("Tile", ["h", "t"], "r"), node("Conv", ["r", "b"], "y")]
    shrunk = equal(model(nodes, {"a": first, "b": second, "t": whole(1, 2, 1, 1)}))
    assert shapes(shrunk.model) | {"t": ()} == {"a": (2, 3, 1, 1), "b": (2, 4, 1, 1), "t": ()}


@pytest.mark.parametrize(("equation", "axis"), [("nchw,oc->nohw", 0), ("nchw,co->nohw", 1)])
def test_einsum_with_a_weight_shrinks_as_a_linear_layer(equation: str, axis: int) -> None:
    weight, second = numbers(4, 5), numbers(2, 4, 1, 1)
    weight[1] = 0
    weight[:, 3] = 0
    tensors = {"a": numbers(5, 3, 1, 1), "w": weight if axis == 0 else weight.T.copy(), "b": second}
    nodes = [
        node("Conv", ["x", "a"], "h"),
        node("Einsum", ["h", "w"], "e", equation=equation),
        node("Conv", ["e", "b"], "y"),
    ]
    shrunk = equal(model(nodes, tensors))
    wanted = (3, 4) if axis == 0 else (4, 3)
    assert shapes(shrunk.model) == {"a": (4, 3, 1, 1), "w": wanted, "b": (2, 3, 1, 1)}


def test_one_channel_carries_constants_through_a_pad_of_its_own() -> None:
    first, bias = numbers(6, 3, 3, 3), np.zeros(6, np.float32)
    first[[1, 2, 4]] = 0
    bias[[1, 2, 4]] = 0.5, 2.0, 1.0
    nodes = [
        node("Conv", ["x", "a", "c"], "h"),
        node("Pad", ["h", "p"], "r"),
        node("Conv", ["r", "b"], "y"),
    ]
    pads = whole(0, 0, 1, 1, 0, 0, 1, 1)
    shrunk = equal(model(nodes, {"a": first, "c": bias, "b": numbers(2, 6, 3, 3), "p": pads}))
    assert shapes(shrunk.model)["a"] == (4, 3, 3, 3)


def test_a_bias_that_operators_make_of_one_number_keeps_its_layer_whole() -> None:
    """As torch's exporter writes convolutions without bias where it is told not to optimise."""
    first, second = numbers(8, 3, 3, 3), numbers(4, 8, 1, 1)
    first[[1, 5]] = 0
    tensors = {"a.weight": first, "b.weight": second, "zero": np.float32(0), "size": whole(8)}
    nodes = [
        node("CastLike", ["zero", "x"], "cast"),
        node("Expand", ["cast", "size"], "a.bias"),
        node("Conv", ["x", "a.weight", "a.bias"], "h"),
        node("Relu", ["h"], "r"),
        node("Conv", ["r", "b.weight"], "y"),
    ]
    assert shapes(equal(model(nodes, tensors)).model)["a.weight"] == (8, 3, 3, 3)


def test_channels_pass_a_cast_like_another_tensor() -> None:
    first, second = numbers(8, 3, 3, 3), numbers(4, 8, 1, 1)
    second[:, 7] = 0
    tensors = {"a.weight": first, "b.weight": second}
    nodes = [
        node("Conv", ["x", "a.weight"], "h"),
        node("CastLike", ["h", "x"], "r"),
        node("Conv", ["r", "b.weight"], "y"),
    ]
    assert shapes(equal(model(nodes, tensors)).model)["a.weight"] == (7, 3, 3, 3)


# Blocks that are dead within.


def dead_block(bias: Array, *, last: str = "Relu") -> ModelProto:
    """x -> stem s; s + norm(conv b(relu(conv a(s)))) -> last -> y, where the convolutions' channels are all dead."""
    tensors = {
        "s.weight": numbers(4, 3, 1, 1),
        "a.weight": np.zeros((8, 4, 3, 3), np.float32),
        "b.weight": numbers(4, 8, 3, 3, seed=1),
        "n.scale": numbers(4, seed=2),
        "n.bias": bias,
        "n.mean": np.zeros(4, np.float32),
        "n.var": np.ones(4, np.float32),
    }
    nodes = [
        node("Conv", ["x", "s.weight"], "s"),
        node("Conv", ["s", "a.weight"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "b.weight"], "b", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["b", "n.scale", "n.bias", "n.mean", "n.var"], "n"),
        node("Add", ["n", "s"], "sum"),
        node(last, ["sum"], "y"),
    ]
    return model(nodes, tensors, ("n", 3, 6, 6))


def test_a_dead_block_leaves_its_constant() -> None:
    bias = np.array([0.5, -0.25, 0, 1], np.float32)
    shrunk = equal(dead_block(bias))
    assert [n.op_type for n in shrunk.model.graph.node] == ["Conv", "Add", "Relu"]
    assert shapes(shrunk.model) == {"s.weight": (4, 3, 1, 1), "n_constant": (1, 4, 1, 1)}
    np.testing.assert_array_equal(stored(shrunk.model, "n_constant").ravel(), bias)
    assert shrunk.report.after.parameters == 12


def test_a_dead_block_that_gives_zeros_leaves_nothing() -> None:
    shrunk = equal(dead_block(np.zeros(4, np.float32)))
    assert [n.op_type for n in shrunk.model.graph.node] == ["Conv", "Relu"]


def test_a_sum_that_is_the_output_stays() -> None:
    proto = dead_block(np.zeros(4, np.float32))
    del proto.graph.node[6]
    proto.graph.output[0].name = "sum"
    assert [n.op_type for n in equal(proto).model.graph.node] == ["Conv", "Add"]


def test_a_constant_that_widens_a_sum_stays() -> None:
    """The other side has one pixel; without the branch the sum would have one too."""
    tensors = {"w": np.zeros((3, 3, 3, 3), np.float32), "b": numbers(3)}
    nodes = [
        node("GlobalAveragePool", ["x"], "mean"),
        node("Conv", ["x", "w", "b"], "branch", pads=[1, 1, 1, 1]),
        node("Add", ["mean", "branch"], "y"),
    ]
    assert [n.op_type for n in equal(model(nodes, tensors)).model.graph.node] == [
        "GlobalAveragePool",
        "Conv",
        "Add",
    ]
