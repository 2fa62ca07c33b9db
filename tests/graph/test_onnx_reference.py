# SPDX-License-Identifier: Apache-2.0
"""Our float64 operators compute what ONNX Runtime computes in float32."""

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from edgeshift.graph.onnx_reference import evaluator


def one(op: str, shapes: list[tuple[int, ...]], kind: int, outputs: int = 1, **attributes: Any) -> ModelProto:
    """A model of one operator."""
    names = [f"x{i}" for i in range(len(shapes))]
    made = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, made, **attributes)],
        "one",
        [helper.make_tensor_value_info(n, kind, s) for n, s in zip(names, shapes, strict=True)],
        [
            helper.make_tensor_value_info(n, TensorProto.INT64 if i else kind, None)
            for i, n in enumerate(made)
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def both(
    op: str, shapes: list[tuple[int, ...]], outputs: int = 1, **attributes: Any
) -> tuple[list[Any], list[Any]]:
    """What the evaluator and ONNX Runtime make of the same random numbers."""
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(s).astype(np.float32) for s in shapes]
    feeds = {f"x{i}": a for i, a in enumerate(arrays)}
    wide = {n: a.astype(np.float64) for n, a in feeds.items()}
    mine = evaluator(one(op, shapes, TensorProto.DOUBLE, outputs, **attributes)).run(None, wide)
    data = one(op, shapes, TensorProto.FLOAT, outputs, **attributes).SerializeToString()
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    return mine, theirs


POOLS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    {"kernel_shape": [2, 3], "strides": [3, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 2], "dilations": [2, 3]},
]


@pytest.mark.parametrize("options", POOLS)
def test_max_pool_agrees(options: dict[str, Any]) -> None:
    mine, theirs = both("MaxPool", [(2, 3, 8, 9)], **options)
    np.testing.assert_array_equal(mine[0].astype(np.float32), theirs[0])


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("options", POOLS)
def test_average_pool_agrees(options: dict[str, Any], include: int) -> None:
    mine, theirs = both("AveragePool", [(2, 3, 8, 9)], count_include_pad=include, **options)
    np.testing.assert_allclose(mine[0], theirs[0], rtol=0, atol=1e-6)  # float32 sums of at most nine numbers


def test_pools_know_one_and_three_axes() -> None:
    for shape, kernel in (((1, 2, 9), [3]), ((1, 2, 5, 4, 6), [2, 3, 2])):
        mine, theirs = both("MaxPool", [shape], kernel_shape=kernel, strides=[2] * len(kernel))
        np.testing.assert_array_equal(mine[0].astype(np.float32), theirs[0])


def test_max_pool_also_says_where() -> None:
    mine, theirs = both("MaxPool", [(2, 2, 6, 5)], 2, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    np.testing.assert_array_equal(mine[1], theirs[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": [2, 3], "pads": [1, 0, 1, 2]},
        {"strides": [2, 2], "output_padding": [1, 1], "dilations": [1, 2]},
        {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_transposed_convolution_agrees(options: dict[str, Any]) -> None:
    mine, theirs = both("ConvTranspose", [(2, 4, 5, 4), (4, 3, 3, 2), (6,)], group=2, **options)
    np.testing.assert_allclose(
        mine[0], theirs[0], rtol=0, atol=1e-5
    )  # float32 sums of at most twelve products


def test_error_function_and_what_is_made_of_it_are_float64() -> None:
    x = np.array([-0.7, 0.2, 1.3])
    got = evaluator(one("Erf", [(3,)], TensorProto.DOUBLE)).run(None, {"x0": x})[0]
    np.testing.assert_allclose(got, [math.erf(v) for v in x], rtol=0, atol=0)
    got = evaluator(one("Gelu", [(3,)], TensorProto.DOUBLE)).run(None, {"x0": x})[0]
    np.testing.assert_allclose(got, [v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x], rtol=1e-15)
    got = evaluator(one("HardSwish", [(3,)], TensorProto.DOUBLE)).run(None, {"x0": x})[0]
    np.testing.assert_allclose(got, x * (x + 3) / 6, rtol=1e-15)
