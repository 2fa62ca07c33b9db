# SPDX-License-Identifier: Apache-2.0
"""ONNX models written by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
OPSET = 18


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    """An operator named after its output."""
    return helper.make_node(op, list(inputs), [output], output, **attributes)


def model(
    nodes: Sequence[NodeProto],
    tensors: Mapping[str, Array],
    shape: Sequence[int | str] = (2, 3, 6, 6),
    outputs: Sequence[str] = ("y",),
    opset: int = OPSET,
) -> ModelProto:
    """A model with the float input `x`."""
    graph = helper.make_graph(
        list(nodes),
        "hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def numbers(*shape: int, seed: int = 0) -> Array:
    """Float32, none of them zero."""
    return np.random.default_rng(seed).uniform(0.2, 1.0, shape).astype(np.float32)


def whole(*values: int) -> Array:
    """A vector of whole numbers."""
    return np.asarray(values, np.int64)


def shapes(proto: ModelProto) -> dict[str, tuple[int, ...]]:
    """Initialiser name -> shape."""
    return {t.name: tuple(t.dims) for t in proto.graph.initializer}


def stored(proto: ModelProto, name: str) -> Array:
    """Numbers of one initialiser."""
    return numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == name))


def run(proto: ModelProto, *inputs: Array) -> list[Array]:
    """All outputs, from ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {i.name: a for i, a in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, feeds))
