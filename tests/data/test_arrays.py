# SPDX-License-Identifier: Apache-2.0
"""Arrays from a file to images and labels."""

from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadData, NotFinite
from edgeshift.data.arrays import as_images, as_labels, read_npz


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 8, 9), (2, 1, 8, 9)),
        ((2, 3, 8, 9), (2, 3, 8, 9)),
        ((2, 8, 9, 3), (2, 3, 8, 9)),
        ((2, 8, 9, 1), (2, 1, 8, 9)),
        ((2, 4, 5, 5), (2, 4, 5, 5)),
    ],
)
def test_channels_come_first(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = as_images(np.zeros(shape, np.uint8), "images")
    assert found.shape == expected
    assert found.flags.c_contiguous


def test_channels_are_moved_not_reshaped() -> None:
    raw = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(1, 5, 5, 3)
    assert as_images(raw, "images")[0, :, 0, 1].tolist() == [3, 4, 5]


def test_floats_are_scaled_and_rounded() -> None:
    raw = np.array([[[0.0, 0.5, 1.0, 0.0019, 0.0020]]])
    assert as_images(raw, "images").ravel().tolist() == [0, 128, 255, 0, 1]


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.int16])
def test_wider_integers_keep_their_values(kind: type) -> None:
    assert as_images(np.array([[[0, 7, 255]]], kind), "images").ravel().tolist() == [0, 7, 255]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((4, 4)), r"x must be \(n, h, w\), \(n, c, h, w\) or \(n, h, w, c\), got shape \(4, 4\)"),
        (
            np.zeros((2, 3, 8, 3)),
            r"x must have 1 to 4 channels on one of axes 1 and 3, got shape \(2, 3, 8, 3\)",
        ),
        (np.zeros((2, 8, 8, 8)), "x must have 1 to 4 channels on one of axes 1 and 3"),
        (np.zeros((0, 8, 8)), r"x must hold at least one image, got shape \(0, 1, 8, 8\)"),
        (np.full((1, 8, 8), 256), r"x of type int64 must be in 0..255, got 256..256"),
        (np.full((1, 8, 8), -1), r"x of type int64 must be in 0..255, got -1..-1"),
        (np.full((1, 8, 8), 16.0), r"x of type float64 must be in 0..1, got 16.0..16.0"),
        (np.zeros((1, 8, 8), bool), "x must be integers in 0..255 or floats in 0..1, got bool"),
        (np.zeros((1, 8, 8), complex), "x must be integers in 0..255 or floats in 0..1, got complex128"),
    ],
)
def test_what_is_no_image(raw: np.ndarray, message: str) -> None:
    with pytest.raises(BadData, match=message):
        as_images(raw, "x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_found(value: float) -> None:
    raw = np.zeros((5, 8, 8))
    raw[3, 1, 1] = value
    with pytest.raises(NotFinite, match="x must be finite, got NaN or infinity in image 3"):
        as_images(raw, "x")


@pytest.mark.parametrize("raw", [np.array([0, 2], np.uint8), np.array([[0], [2]])])
def test_labels_become_int64(raw: np.ndarray) -> None:
    found = as_labels(raw, 2, "y")
    assert (found.dtype, found.tolist()) == (np.int64, [0, 2])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.array([0.0, 1.0]), "y must be integers, got float64"),
        (np.array(["a", "b"]), "y must be integers, got <U1"),
        (np.array([0, 1, 1]), r"y must be \(2,\), one for each image, got shape \(3,\)"),
        (np.eye(2, dtype=int), r"y must be \(2,\), one for each image, got shape \(2, 2\)"),
        (np.array([0, -1]), "y must be from 0, got -1"),
    ],
)
def test_what_is_no_label(raw: np.ndarray, message: str) -> None:
    with pytest.raises(BadData, match=message):
        as_labels(raw, 2, "y")


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", images=np.array([{"a": 1}], object))
    with pytest.raises(
        BadData, match=r"o.npz must be an npz file of plain arrays, got: Object arrays cannot"
    ):
        read_npz(tmp_path / "o.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(BadData, match=r"bad.npz must be an npz file of plain arrays, got:"):
        read_npz(tmp_path / "bad.npz")


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(BadData, match=r"one.npz must be an npz file of plain arrays"):
        read_npz(tmp_path / "one.npz")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", images=np.random.default_rng(0).integers(0, 256, 5000))
    raw = bytearray((tmp_path / "d.npz").read_bytes())
    raw[200:260] = bytes(60)
    (tmp_path / "d.npz").write_bytes(bytes(raw))
    with pytest.raises(BadData, match=r"d.npz must be"):
        read_npz(tmp_path / "d.npz", ("images",))


def test_a_missing_array_is_named_with_those_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pictures=np.zeros(2))
    with pytest.raises(BadData, match=r"a.npz must hold an array 'images', got pictures"):
        read_npz(tmp_path / "a.npz", ("images",))
