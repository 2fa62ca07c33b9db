# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadData
from edgeshift.core.values import SPLITS
from edgeshift.data import SETS, DataSet, open_set
from edgeshift.data.sets.fashion_mnist import read_idx

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGESHIFT_DATA"), reason="EDGESHIFT_DATA names no folder with fashion_mnist"
)


def test_an_idx_file_is_read(tmp_path: Path) -> None:
    body = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    head = struct.pack(">HBB3I", 0, 8, 3, 1, 2, 3)
    (tmp_path / "x.gz").write_bytes(gzip.compress(head + body.tobytes()))
    assert read_idx(tmp_path / "x.gz").tolist() == body.tolist()


@pytest.mark.parametrize(
    "content",
    [b"", b"plain", gzip.compress(b"ab"), gzip.compress(bytes(40))[:-9]],
    ids=["empty", "not packed", "too short", "cut off"],  # packed bytes hold the time, which a name must not
)
def test_a_damaged_idx_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(BadData, match=r"x.gz must be a gzip file in idx format, got:"):
        read_idx(tmp_path / "x.gz")


def test_an_idx_file_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(struct.pack(">HBB1I", 0, 8, 1, 5) + bytes(3)))
    with pytest.raises(BadData, match=r"x.gz must hold \(5,\) bytes in idx format, got 3"):
        read_idx(tmp_path / "x.gz")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"must hold train.npz and test.npz, or .*, got no test images"):
        SETS.make("fashion_mnist", folder=str(tmp_path)).open().split("test")


@pytest.fixture(scope="module")
def fashion() -> DataSet:
    return open_set("fashion_mnist")


@needs_data
def test_a_tenth_of_each_training_class_is_validation(fashion: DataSet) -> None:
    counts = [np.bincount(fashion.split(which).labels).tolist() for which in SPLITS]
    assert counts == [[2250] * 10, [250] * 10, [500] * 10]


@needs_data
def test_no_image_is_in_two_splits(fashion: DataSet) -> None:
    seen = [bytes(image) for which in SPLITS for image in fashion.split(which).images.reshape(-1, 784)]
    assert len(set(seen)) == len(seen) == 30_000
