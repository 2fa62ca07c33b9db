# SPDX-License-Identifier: Apache-2.0
"""Sparse tensors on disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeshift.core.errors import BadValue, BadWeights
from edgeshift.formats import read_sparse, read_tensors, sparse_bytes, tensor_bytes


@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
        fill=st.just(0),
    )
)
def test_every_array_comes_back_bit_for_bit(array: np.ndarray) -> None:
    found = read_sparse(sparse_bytes({"x": array}))[0]["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_negative_zero_and_nan_come_back() -> None:
    array = np.zeros(64, np.float32)
    array[[3, 5]] = [-0.0, np.nan]
    stored = sparse_bytes({"x": array})
    assert "x/bits" in read_tensors(stored)[0]
    assert read_sparse(stored)[0]["x"].tobytes() == array.tobytes()


def test_a_tenth_of_the_values_takes_an_eighth_of_the_room() -> None:
    array = np.zeros(100_000, np.float32)
    array[::10] = 1.0
    # 10,000 values of 4 bytes and 100,000 bits, of 400,000 bytes; the header is below 1 kB.
    assert 52_500 < len(sparse_bytes({"x": array})) < 53_500


def test_a_full_tensor_is_stored_plainly() -> None:
    assert set(read_tensors(sparse_bytes({"x": np.ones(50, np.float32)}))[0]) == {"x"}


def test_facts_come_back() -> None:
    assert read_sparse(sparse_bytes({"x": np.zeros(3)}, {"kept": 0.5}))[1] == {"kept": 0.5}


def test_equal_content_gives_equal_bytes() -> None:
    arrays = {"a": np.zeros(40), "b": np.eye(20)}
    assert sparse_bytes(arrays) == sparse_bytes(dict(reversed(arrays.items())))


def test_a_name_with_a_slash_is_refused() -> None:
    with pytest.raises(BadValue, match="tensor name must be one without '/', got 'a/b'"):
        sparse_bytes({"a/b": np.zeros(3)})


def test_another_file_is_refused() -> None:
    with pytest.raises(BadWeights, match="format of the sparse tensors must be 1, got None"):
        read_sparse(tensor_bytes({"x": np.zeros(3)}))


def test_a_missing_value_is_refused() -> None:
    stored, facts = read_tensors(sparse_bytes({"x": np.eye(20, dtype=np.float32)}))
    stored["x/values"] = stored["x/values"][1:]
    with pytest.raises(BadWeights, match="tensor x must have 20 values, got 19"):
        read_sparse(tensor_bytes(stored, facts))


def test_missing_bits_are_refused() -> None:
    stored, facts = read_tensors(sparse_bytes({"x": np.eye(20, dtype=np.float32)}))
    del stored["x/bits"]
    with pytest.raises(BadWeights, match="sparse tensors must be whole, got: 'x/bits'"):
        read_sparse(tensor_bytes(stored, facts))
