# SPDX-License-Identifier: Apache-2.0
"""Memory of a fresh process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.measure import file_size, measure, peak_memories, peak_memory
from edgeshift.measure.latency import QUICK

MIB = 1 << 20


def linear(path: Path, wide: int) -> Path:
    """A matrix of `wide` x 64 floats in a file."""
    weight = np.zeros((wide, 64), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", wide])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(made.SerializeToString())
    return path


def test_a_larger_file_needs_more_memory(tmp_path: Path) -> None:
    small = peak_memory(linear(tmp_path / "small.onnx", 64), repeats=1)
    large = peak_memory(linear(tmp_path / "large.onnx", 131_072), repeats=1)
    # 32 MiB of weights: at least once in memory, at most four times (file, message, tensor, packed).
    assert 32 * MIB <= large.value - small.value <= 4 * 32 * MIB


def test_all_memory_is_more_than_what_the_file_adds(tmp_path: Path) -> None:
    above, total = peak_memories(linear(tmp_path / "m.onnx", 64), batch_size=2, threads=1, repeats=1)
    assert (above.quantity, total.quantity, above.unit) == ("peak_memory", "total_memory", "bytes")
    assert (above.kind, above.batch_size, above.threads, above.repeats) == ("measured", 2, 1, 1)
    # Python, numpy and ONNX Runtime take 30 MiB at least.
    assert total.value >= above.value + 30 * MIB


def test_the_measured_process_loads_no_torch() -> None:
    program = (
        "import sys, edgeshift.measure.resident; print([m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_that_does_not_open_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"garbage")
    with pytest.raises(BadPortfolio, match="memory must be measured on a file that opens, got: ") as caught:
        peak_memory(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


def test_numbers_below_one_are_refused(tmp_path: Path) -> None:
    message = r"batch_size, threads and repeats must be from 1, got \(1, 0, 3\)"
    with pytest.raises(BadValue, match=message):
        peak_memory(linear(tmp_path / "m.onnx", 64), threads=0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"ONNX file must be an existing file, got '.*none.onnx'"):
        peak_memory(tmp_path / "none.onnx")


def test_the_size_of_a_file_is_counted(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(1234))
    found = file_size(tmp_path / "f")
    assert (found.quantity, found.value, found.unit, found.kind) == ("file_size", 1234, "bytes", "measured")


def test_everything_is_measured_at_once(tmp_path: Path) -> None:
    found = measure(linear(tmp_path / "m.onnx", 64), (1, 4), 1, QUICK)
    assert [(m.quantity, m.batch_size) for m in found] == [
        ("file_size", 1),
        ("latency", 1),
        ("latency", 4),
        ("peak_memory", 1),
        ("total_memory", 1),
    ]
    assert all(m.kind == "measured" and m.device for m in found)
