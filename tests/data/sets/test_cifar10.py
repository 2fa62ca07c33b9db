# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadData
from edgeshift.data import SETS, DataSet, open_set
from edgeshift.data.sets.cifar10 import read_binary, read_file, read_filtered, unfiltered

needs_data = pytest.mark.skipif(
    not os.environ.get("EDGESHIFT_DATA"), reason="EDGESHIFT_DATA names no folder with cifar10"
)


def filtered(pixels: np.ndarray) -> np.ndarray:
    """The filter itself, from its description: undone by `unfiltered`."""
    delta = pixels.copy()
    delta[:, 0] -= pixels[:, 1]
    delta[:, 2] -= pixels[:, 1]
    delta[:, :, 1:] -= delta[:, :, :-1].copy()
    delta[:, :, :, 1:] -= delta[:, :, :, :-1].copy()
    return delta


def made_up(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)


def test_the_filter_is_undone() -> None:
    pixels, _ = made_up(3)
    assert (unfiltered(filtered(pixels)) == pixels).all()


def test_unfiltering_by_hand() -> None:
    delta = np.zeros((1, 3, 2, 2), np.uint8)
    delta[0, :, 0, 0] = (1, 10, 250)
    delta[0, 1, 1, 1] = 5
    # Green: 10 10 / 10 15. Red is 1 more than green, blue 6 less (250 modulo 256).
    assert unfiltered(delta)[0].reshape(3, 4).tolist() == [[11, 11, 11, 16], [10, 10, 10, 15], [4, 4, 4, 9]]


def test_both_forms_of_a_file_give_the_same(tmp_path: Path) -> None:
    pixels, labels = made_up(20)
    np.savez(tmp_path / "f.npz", delta=filtered(pixels), labels=labels)
    np.concatenate([labels[:, None], pixels.reshape(20, -1)], 1).tofile(tmp_path / "b.bin")
    first, second = read_filtered(tmp_path / "f.npz"), read_binary(tmp_path / "b.bin")
    assert first.sha256() == second.sha256()
    assert (first.images == pixels).all()


def test_the_last_5000_training_images_are_validation(tmp_path: Path) -> None:
    for number in range(1, 6):
        pixels, labels = made_up(5_007 if number == 5 else 10 + number)
        records = np.concatenate([labels[:, None], pixels.reshape(len(pixels), -1)], 1)
        records.tofile(tmp_path / f"data_batch_{number}.bin")
    found = SETS.make("cifar10", folder=str(tmp_path)).open()
    last, _ = made_up(5_007)
    assert (found.split("validation").images == last[7:]).all()
    assert len(found.split("train")) == 11 + 12 + 13 + 14 + 7
    assert (found.split("train").images[-7:] == last[:7]).all()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"must hold train_1.npz .*, got neither test.npz nor test_batch.bin"):
        SETS.make("cifar10", folder=str(tmp_path)).open().split("test")


def test_a_binary_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(3000))
    with pytest.raises(BadData, match="must be a whole number of 3073-byte records, got 3000 bytes"):
        read_file(tmp_path, 0)


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", delta=np.zeros((2, 3, 8, 8), np.uint8), labels=np.zeros(2, np.uint8))
    with pytest.raises(
        BadData, match=r"delta in .* must be uint8 \(n, 3, 32, 32\), got uint8 \(2, 3, 8, 8\)"
    ):
        read_file(tmp_path, 0)


@needs_data
def test_the_test_images_are_the_published_ones() -> None:
    test = open_set("cifar10").split("test")
    pixels = np.ascontiguousarray(test.images.transpose(0, 2, 3, 1))
    assert hashlib.md5(pixels.data).hexdigest() == "c2fadad6caccabb38d09a2eeadea924c"
    assert np.bincount(test.labels).tolist() == [1000] * 10


@pytest.fixture(scope="module")
def cifar10() -> DataSet:
    return open_set("cifar10")


@needs_data
@pytest.mark.slow
def test_the_training_images_are_the_published_ones(cifar10: DataSet) -> None:
    md5 = (
        "df70fabd3c2045a432a3b79d653666d7",
        "f17e7557495fee98b231335b2227dc44",
        "ffb80c2c0001c9f84713434dda55534f",
        "f517588410e6d949ccbd93b4b94838a0",
        "b71f8aa93064a42d51d43cfb6e70c799",
    )
    parts = [cifar10.split("train").images, cifar10.split("validation").images]
    pixels = np.concatenate(parts).transpose(0, 2, 3, 1).reshape(5, -1)
    assert tuple(hashlib.md5(np.ascontiguousarray(rows).data).hexdigest() for rows in pixels) == md5
    labels = np.concatenate([cifar10.split(w).labels for w in ("train", "validation")])
    assert np.bincount(labels).tolist() == [5000] * 10
