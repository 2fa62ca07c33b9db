# SPDX-License-Identifier: Apache-2.0
"""Weights of ONNX Runtime's files at multiples of a cache line."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st

from edgeshift.formats import export_onnx
from edgeshift.models import build, example, resolve
from edgeshift.runtime.aligned import LEAST, LINE, aligned, length, target, weights, write_holes
from edgeshift.runtime.backends.onnxruntime import Onnxruntime


@cache
def made() -> tuple[bytes, bytes]:
    """A ResNet-8 as an ONNX file, and in ONNX Runtime's format as that writes it."""
    ref = resolve("resnet8", classes=10, input_shape=(3, 32, 32))
    with TemporaryDirectory() as folder:
        onnx, built = Path(folder) / "onnx", Path(folder) / "built"
        export_onnx(build(ref, seed=0).eval(), example(ref), onnx)
        options = Onnxruntime._options(1, "all")
        options.optimized_model_filepath = str(built)
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        return onnx.read_bytes(), built.read_bytes()


def starts(file: bytes) -> list[int]:
    """Where the first element of every large vector of weights lies, within a line."""
    return [(target(file, f) + 4) % LINE for f in weights(file) if length(file, f) >= LEAST]


def test_the_runtime_misaligns_and_we_align() -> None:
    """Should the first ever fail, this module has lost its reason."""
    _, built = made()
    assert any(starts(built))
    moved = aligned(built)
    assert starts(moved) == [0] * len(starts(built))
    assert aligned(moved) == moved


def test_no_weight_changes() -> None:
    _, built = made()
    moved = aligned(built)
    for before, after in zip(weights(built), weights(moved), strict=True):
        size = 4 + length(built, before)
        one, other = target(built, before), target(moved, after)
        assert built[one : one + size] == moved[other : other + size]


def test_answers_are_those_of_a_session_that_owns_its_weights(tmp_path: Path) -> None:
    onnx, _ = made()
    backend = Onnxruntime()
    backend.build(onnx, tmp_path / "built")
    assert starts((tmp_path / "built").read_bytes())[0] == 0
    inputs = {"input": np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)}
    one = backend.open(tmp_path / "built", 1).run(inputs)
    other = backend.open(onnx, 1).run(inputs)
    assert all(np.array_equal(one[name], other[name]) for name in other)


@given(st.integers(0, 10**6), st.integers(0, 255), st.floats(0, 1))
def test_a_damaged_file_never_raises(place: int, value: int, kept: float) -> None:
    _, built = made()
    damaged = bytearray(built)
    damaged[place % 4096 if place % 2 else place % len(built)] = value
    aligned(bytes(damaged[: int(kept * len(damaged))]))
    aligned(bytes(damaged))


def test_other_bytes_come_back_as_they_are() -> None:
    for other in (b"", b"abc", bytes(100), b"\xff" * 100):
        assert aligned(other) == other


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * LEAST)), max_size=6))
def test_what_is_written_with_holes_reads_the_same(parts: list[tuple[bool, int]]) -> None:
    data = b"".join(bytes(size) if blank else b"\x01" * size for blank, size in parts)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write_holes(path, data)
        assert path.read_bytes() == data
