# SPDX-License-Identifier: Apache-2.0
"""Branches that give a constant."""

from copy import deepcopy

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeshift.formats import export_onnx, open_onnx
from edgeshift.formats.onnx_silent import silence_
from edgeshift.graph import shrink
from edgeshift.models import build, example, resolve

X = np.random.default_rng(0).standard_normal((3, 2, 5, 5), dtype=np.float32)


def made(nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A graph from "input" `(n, 2, 5, 5)` to "output"."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2, 5, 5])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def block(bias: list[float], *, last: str = "Relu") -> onnx.ModelProto:
    """A residual block whose inner channel is dead, as the shrinker leaves it, and one operator after it."""
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["inner"], pads=pads),
        helper.make_node("Relu", ["inner"], ["active"]),
        helper.make_node("Conv", ["active", "w2", "b2"], ["branch"], pads=pads),
        helper.make_node("Add", ["branch", "input"], ["sum"]),
        helper.make_node(last, ["sum"], ["output"]),
    ]
    source = np.random.default_rng(1)
    tensors = {"w1": np.zeros((1, 2, 3, 3)), "b1": np.zeros(1), "w2": source.standard_normal((2, 1, 3, 3))}
    return made(nodes, tensors | {"b2": np.array(bias)})


def operators(model: onnx.ModelProto) -> list[str]:
    """Kinds of nodes in order."""
    return [node.op_type for node in model.graph.node]


def answer(model: onnx.ModelProto) -> np.ndarray:
    """Of ONNX Runtime."""
    return open_onnx(model.SerializeToString()).run(X)


def test_a_dead_block_leaves_its_bias() -> None:
    model = block([0.5, -1.0])
    before = answer(model)
    silence_(model)
    assert operators(model) == ["Add", "Relu"]
    (tensor,) = model.graph.initializer
    assert numpy_helper.to_array(tensor).tolist() == [[[[0.5]], [[-1.0]]]]
    assert np.array_equal(answer(model), before)


def test_a_dead_block_without_bias_leaves_nothing() -> None:
    model = block([0.0, 0.0])
    before = answer(model)
    silence_(model)
    assert operators(model) == ["Relu"]
    assert np.array_equal(answer(model), before)


def test_a_sum_that_is_the_output_stays() -> None:
    model = block([0.0, 0.0])
    del model.graph.node[4]
    model.graph.output[0].name = "sum"
    silence_(model)
    assert operators(model) == ["Add"]
    assert np.array_equal(answer(model), X)


def test_a_live_branch_stays() -> None:
    model = block([0.5, 0.5])
    tensors = {t.name: t for t in model.graph.initializer}
    tensors["b1"].CopyFrom(
        numpy_helper.from_array(np.ones(1, np.float32), "b1")
    )  # one at every pixel, none outside
    before = model.SerializeToString()
    silence_(model)
    assert model.SerializeToString() == before


def test_a_branch_that_widens_a_sum_stays() -> None:
    """The other side has one pixel; without the branch the sum would have one too."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Conv", ["input", "w", "b"], ["branch"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["mean", "branch"], ["output"]),
    ]
    model = made(nodes, {"w": np.zeros((2, 2, 3, 3)), "b": np.ones(2)})
    silence_(model)
    assert operators(model) == ["GlobalAveragePool", "Conv", "Add"]
    assert answer(model).shape == X.shape


def test_a_sum_of_two_silent_branches_stays() -> None:
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["one"]),
        helper.make_node("Conv", ["input", "w", "b"], ["two"]),
        helper.make_node("Add", ["one", "two"], ["output"]),
    ]
    model = made(nodes, {"w": np.zeros((2, 2, 1, 1)), "b": np.ones(2)})
    silence_(model)
    assert operators(model) == ["Conv", "Conv", "Add"]


@pytest.mark.parametrize("last", ["Tanh", "Identity"])
def test_blocks_behind_one_another_all_go(last: str) -> None:
    model = block([0.0, 0.0], last=last)
    second = list(block([0.0, 0.0]).graph.node)[:4]
    names = {"input": "output"} | {n: f"{n}'" for n in ("inner", "active", "branch", "sum")}
    for node in second:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    model.graph.node.extend([*second, helper.make_node("Relu", ["sum'"], ["end"])])
    model.graph.output[0].name = "end"
    before = answer(model)
    silence_(model)
    assert operators(model) == [last, "Relu"]
    assert np.array_equal(answer(model), before)


def test_an_exported_network_loses_its_dead_blocks() -> None:
    ref = resolve("resnet20", classes=10, input_shape=(3, 32, 32))
    model: nn.Module = build(ref, seed=0).eval()
    dead = deepcopy(model)
    with torch.no_grad():
        for name, parameter in dead.named_parameters():
            if name.startswith(("layer1.1", "layer3.2")):
                if "conv1" in name or "bn1" in name:
                    parameter.zero_()
                if name.endswith("bn2.bias"):
                    parameter.normal_()
    small = shrink(dead, example(ref)).model
    graphs = [onnx.load_from_string(export_onnx(m, example(ref)).data) for m in (model, small)]
    convolutions = [operators(g).count("Conv") for g in graphs]
    assert convolutions == [19, 15]
