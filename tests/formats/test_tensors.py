# SPDX-License-Identifier: Apache-2.0
"""Named arrays on disk."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeshift.core.errors import BadValue, BadWeights, DiskFull
from edgeshift.formats import read_shapes, read_tensors, tensor_bytes, write_tensors

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, dtype=np.int64)}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", ARRAYS, {"note": [1, "two"]})
    found, facts = read_tensors(tmp_path / "x.safetensors")
    assert facts == {"note": [1, "two"]}
    assert {n: a.tolist() for n, a in found.items()} == {"a": 7, "b": [[0, 1, 2], [3, 4, 5]]}
    assert found["a"].dtype == np.int64


def test_order_of_names_does_not_change_the_bytes() -> None:
    backwards = dict(reversed(ARRAYS.items()))
    assert tensor_bytes(ARRAYS, {"x": 1, "y": 2}) == tensor_bytes(backwards, {"y": 2, "x": 1})


def test_another_process_writes_the_same_bytes() -> None:
    program = (
        "import sys, numpy as np; from edgeshift.formats import tensor_bytes;"
        "a = {'b': np.arange(6, dtype=np.float32).reshape(2, 3), 'a': np.array(7, dtype=np.int64)};"
        "sys.stdout.buffer.write(tensor_bytes(a, {'x': 1, 'y': [2]}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert done.stdout == tensor_bytes(ARRAYS, {"x": 1, "y": [2]})


def test_shapes_are_read_without_the_arrays() -> None:
    assert read_shapes(tensor_bytes(ARRAYS, {"k": 1})) == ({"a": (), "b": (2, 3)}, {"k": 1})


def test_a_file_of_another_program_has_no_facts() -> None:
    assert read_tensors(safetensors.numpy.save(ARRAYS))[1] == {}


def test_a_sliced_array_is_stored_as_it_looks() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    assert read_tensors(tensor_bytes({"x": array}))[0]["x"].tolist() == [[0, 2], [4, 6], [8, 10]]


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4", b"\x80\x02}q\x00.", bytes(8), b"\xff" * 20, b"\2\0\0\0\0\0\0\0[]"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadWeights, match="must be a safetensors file, got"):
        read_tensors(data)


def test_a_cut_file_is_refused() -> None:
    with pytest.raises(BadWeights, match="must be a safetensors file, got"):
        read_tensors(tensor_bytes(ARRAYS)[:-1])


def test_facts_that_are_no_record_are_refused() -> None:
    data = safetensors.numpy.save(ARRAYS, {"edgeshift": "[1]"})
    with pytest.raises(BadWeights, match="facts in tensor file must be a record, got list"):
        read_tensors(data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"tensor file must be an existing file, got '.*none.safetensors'"):
        read_tensors(tmp_path / "none.safetensors")


@given(data=st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(BadWeights):
        read_tensors(data)


@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), hnp.array_shapes(min_dims=0)
    )
)
def test_every_array_comes_back_bit_for_bit(array: np.ndarray) -> None:
    found = read_tensors(tensor_bytes({"x": array}))[0]["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_a_file_size_limit_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(DiskFull, match=r"disk must have room for .*x.safetensors, got a full disk"):
            write_tensors(path, {"x": np.ones(100_000, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
