# SPDX-License-Identifier: Apache-2.0
"""Small variants with real files, made without torch."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.values import FileRef, Measurement, ModelRef, Proof, Variant
from edgeshift.formats import tensor_bytes
from edgeshift.portfolio import Draft, Golden

MODEL = ModelRef("toy", 2, (3,), {"depth": 1}, (0.5,), (0.25,))
DATA = {"name": "hand", "split": {"train": 4}}
RECIPE = {"method": "none", "levels": [1.0, 0.5]}
WEIGHT = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
INPUT = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
ANSWER = np.array([[1, 2], [8, 10]], np.float64)


def onnx_bytes(weight: np.ndarray = WEIGHT) -> bytes:
    """A file that multiplies its input by a matrix."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", weight.shape[0]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return made.SerializeToString()


def weight_file(weight: np.ndarray = WEIGHT, shape: tuple[int, ...] = (3, 2)) -> bytes:
    """Weights with a plan that says their shape."""
    return tensor_bytes({"w": weight}, {"format": 1, "plan": ShapePlan({"w": shape}).to_json()})


def files(seed: int = 0) -> dict[str, bytes | Path]:
    """A whole set; each seed gives other bytes with the same answers."""
    return {
        "onnx": onnx_bytes() + b"\x32" + bytes([len(str(seed))]) + str(seed).encode(),  # model.doc_string
        "weights": weight_file(),
        "golden": Golden(INPUT, ANSWER).to_bytes(),
        "log": f"curve {seed}".encode(),
    }


def draft(
    name: str = "level-0", accuracy: float = 0.9, latency: float = 2.0, memory: float = 1000.0
) -> Draft:
    """Everything but the files."""
    return Draft(
        name=name,
        recipe={"train": {"method": "none", "version": 1, "options": {}}},
        accuracy={"validation": accuracy, "test": accuracy / 2},
        parameters=6,
        macs=6,
        sparsity=0.5,
        widths={"w": 2},
        measurements=(Measurement("latency", latency, "ms"), Measurement("peak_memory", memory, "bytes")),
        proof=Proof(1e-12, 1e-7, 3, ("random", "zeros"), 1e-9),
    )


def variant(name: str, accuracy: float, latency: float, memory: float) -> Variant:
    """A variant that no folder holds."""
    place = {"onnx": FileRef("blobs/" + "0" * 64, "0" * 64, 1)}
    return draft(name, accuracy, latency, memory).with_files(place)
