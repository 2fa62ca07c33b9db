# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadData
from edgeshift.predict.samples import Samples
from edgeshift.predict.table import read_table, write_table

GOOD: dict[str, Any] = {
    "features": np.array([[1, 2], [3, 4], [5, 6]]),
    "latency_ms": np.array([[1.0, 2], [3, -1], [np.nan, 4]]),
    "devices": np.array(["a", "b"]),
    "accuracy": np.array([0.5, 0.6, 0.7]),
}


def saved(folder: Path, **changes: Any) -> Path:
    arrays = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(folder / "t.npz", **arrays)
    return folder / "t.npz"


def test_minus_one_and_nan_are_not_measured(tmp_path: Path) -> None:
    found = read_table(saved(tmp_path))
    assert np.isnan(found.cost).tolist() == [[False, False], [False, True], [True, False]]


def test_devices_without_families_are_their_own(tmp_path: Path) -> None:
    assert read_table(saved(tmp_path)).family("b") == "b"


def test_a_written_table_reads_back_equal(tmp_path: Path) -> None:
    first = Samples(
        np.ones((2, 1)), np.array([[1.0, np.nan], [2, 3]]), ("a", "b"), ("x",), families={"a": "f", "b": "f"}
    )
    write_table(tmp_path / "t.npz", first)
    second = read_table(tmp_path / "t.npz")
    assert (second.devices, second.feature_names, second.families) == (
        ("a", "b"),
        ("x",),
        {"a": "f", "b": "f"},
    )
    assert np.array_equal(first.cost, second.cost, equal_nan=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": None}, "must hold features, latency_ms, devices"),
        ({"features": np.array([[1, np.nan], [3, 4], [5, 6]])}, "features of .* must be finite"),
        ({"features": np.ones(3)}, "features of .* must be numbers with 2 axes"),
        ({"latency_ms": np.ones((2, 2))}, r"latency_ms of .* must be \[3, 2\]"),
        ({"latency_ms": np.zeros((3, 2))}, "latency_ms of .* must be above 0"),
        ({"latency_ms": np.full((3, 2), np.inf)}, "latency_ms of .* must be above 0"),
        ({"devices": np.array(["a", "a"])}, "devices of .* must be distinct"),
        ({"devices": np.array([1, 2])}, "devices of .* must be a list of texts"),
        ({"accuracy": np.ones(2)}, "accuracy of .* must be 3 finite"),
        ({"feature_names": np.array(["x"])}, "feature_names of .* must be 2 texts"),
        ({"families": np.array(["x"])}, "families of .* must be 2 texts"),
        ({"features": np.array([[object()] * 2] * 3)}, "must be an .npz file without pickled objects"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadData, match=said):
        read_table(saved(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(BadData, match=r"must be an \.npz file"):
        read_table(tmp_path / "t.npz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="does not exist"):
        read_table(tmp_path / "none.npz")
