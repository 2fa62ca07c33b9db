# SPDX-License-Identifier: Apache-2.0
"""What all backends promise."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.runtime import BACKENDS

NAMES = BACKENDS.names()
WEIGHT = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
INPUT = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
ANSWER = np.array([[1, 2], [8, 10]], np.float32)


def onnx_bytes(external: bool = False) -> bytes:
    """Multiplies its input by a matrix."""
    weight = numpy_helper.from_array(WEIGHT, "w")
    if external:
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [weight],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = made.SerializeToString()
    return data


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> object:
    pytest.importorskip(request.param)
    return BACKENDS.make(request.param)


def test_a_built_file_answers_right(backend: object, tmp_path: Path) -> None:
    backend.build(onnx_bytes(), tmp_path / "built")
    model = backend.open(tmp_path / "built", 1)
    np.testing.assert_array_equal(model.run({"input": INPUT})["output"], ANSWER)


def test_a_built_file_opens_twice_and_is_not_changed_by_it(backend: object, tmp_path: Path) -> None:
    backend.build(onnx_bytes(), tmp_path / "built")
    before = (tmp_path / "built").read_bytes()
    models = [backend.open(tmp_path / "built", 1) for _ in range(2)]
    answers = [model.run({"input": INPUT})["output"] for model in models]
    np.testing.assert_array_equal(*answers)
    assert (tmp_path / "built").read_bytes() == before


def test_bytes_answer_right(backend: object) -> None:
    np.testing.assert_array_equal(backend.open(onnx_bytes(), 1).run({"input": INPUT})["output"], ANSWER)


def test_the_reference_answers_right(backend: object) -> None:
    np.testing.assert_array_equal(backend.reference(onnx_bytes()).run({"input": INPUT})["output"], ANSWER)


def test_it_knows_names_types_and_shapes(backend: object) -> None:
    model = backend.open(onnx_bytes(), 1)
    (given,), (answer,) = model.inputs, model.outputs
    assert (given.name, given.dtype, given.shape) == ("input", np.float32, (None, 3))
    assert (answer.name, answer.dtype, answer.shape) == ("output", np.float32, (None, 2))


def test_an_answer_is_not_changed_by_the_next_one(backend: object) -> None:
    model = backend.open(onnx_bytes(), 1)
    first = model.run({"input": INPUT})["output"]
    model.run({"input": INPUT * 2})
    np.testing.assert_array_equal(first, ANSWER)


def test_four_threads_may_ask_at_once(backend: object) -> None:
    model = backend.open(onnx_bytes(), 1)
    wrong = []

    def ask(factor: int) -> None:
        for _ in range(25):
            if not np.array_equal(model.run({"input": INPUT * factor})["output"], ANSWER * factor):
                wrong.append(factor)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("data", [b"", b"no model", onnx_bytes()[:40]], ids=["empty", "text", "cut"])
def test_what_is_no_model_is_refused(backend: object, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadPortfolio, match="must"):
        backend.open(data, 1)
    with pytest.raises(BadPortfolio, match="must"):
        backend.build(data, tmp_path / "built")


def test_a_file_that_points_at_others_is_refused(backend: object, tmp_path: Path) -> None:
    with pytest.raises(BadPortfolio, match="ONNX file must hold all its tensors"):
        backend.build(onnx_bytes(external=True), tmp_path / "built")


def test_threads_are_at_least_one(backend: object) -> None:
    with pytest.raises(BadValue, match="threads must be at least 1, got 0"):
        backend.open(onnx_bytes(), 0)


def test_it_says_its_version(backend: object) -> None:
    name, number = backend.runtime.split()
    assert (name, number[0].isdigit()) == (backend.card.name, True)


@pytest.mark.parametrize("name", NAMES)
def test_importing_it_loads_no_torch(name: str) -> None:
    program = f"import sys, edgeshift.runtime.backends.{name}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
