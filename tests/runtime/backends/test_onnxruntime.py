# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime from mapped files."""

from pathlib import Path

import pytest

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from tests.portfolio.made import INPUT, onnx_bytes


def mapped(path: Path) -> bool:
    """Whether this process maps a file."""
    return str(path) in Path("/proc/self/maps").read_text()


def test_a_built_file_is_mapped_while_its_model_lives(tmp_path: Path) -> None:
    Onnxruntime().build(onnx_bytes(), tmp_path / "built")
    model = Onnxruntime().open(tmp_path / "built", 1)
    model.run({"input": INPUT})
    assert mapped(tmp_path / "built")
    del model
    assert not mapped(tmp_path / "built")


def test_levels_are_all_and_extended() -> None:
    assert [Onnxruntime(level).level for level in ("all", "extended")] == ["all", "extended"]
    with pytest.raises(BadValue, match="optimisation must be 'all' or 'extended', got 'none'"):
        Onnxruntime("none")


def test_a_type_without_numpy_is_refused() -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["output"])],
        "text",
        [helper.make_tensor_value_info("input", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info("output", TensorProto.STRING, ["batch"])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(BadPortfolio, match=r"type of input must be one of .*, got tensor\(string\)"):
        Onnxruntime().open(made.SerializeToString(), 1)
