# SPDX-License-Identifier: Apache-2.0
"""Splits, data sets and normalisation."""

import numpy as np
import pytest

from edgeshift.core.errors import BadData, BadValue
from edgeshift.data import DataSet, Split, normalise


def split(labels: list[int], channels: int = 1) -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(labels), channels, 2, 2), dtype=np.uint8)
    return Split(images, np.array(labels, np.int64))


def data_set(
    found: Split, shape: tuple[int, int, int] = (1, 2, 2), classes: tuple[str, ...] = ("a", "b")
) -> DataSet:
    return DataSet("made", shape, classes, lambda which: found)


def test_a_good_split_is_itself() -> None:
    good = split([0, 1])
    assert good.check() is good


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 1, 2, 2)), [0, 1], r"images must be uint8 \(n, channels, height, width\), got float64"),
        (np.zeros((2, 2, 2), np.uint8), [0, 1], r"images must be uint8 .*, got uint8 \(2, 2, 2\)"),
        (np.zeros((0, 1, 2, 2), np.uint8), [], r"images must be at least one, got shape \(0, 1, 2, 2\)"),
        (np.zeros((2, 1, 0, 2), np.uint8), [0, 1], r"images must be at least one, got shape \(2, 1, 0, 2\)"),
        (np.zeros((3, 1, 2, 2), np.uint8), [0, 1], r"labels must be int64 \(3,\), .*, got int64 \(2,\)"),
        (np.zeros((2, 1, 2, 2), np.uint8), [0, -1], "labels must be from 0, got -1"),
        (np.zeros((2, 1, 2, 2), np.uint8), [3, 3], "labels must be of at least 2 classes, got only class 3"),
    ],
)
def test_a_bad_split_is_one_line(images: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(BadData, match=message):
        Split(images, np.array(labels, np.int64)).check()


def test_labels_of_another_type_are_refused() -> None:
    with pytest.raises(BadData, match=r"labels must be int64 \(2,\), one for each image, got uint8 \(2,\)"):
        Split(split([0, 1]).images, np.array([0, 1], np.uint8)).check()  # type: ignore[arg-type]  # the point


def test_the_digest_changes_with_a_pixel_a_label_and_the_shape() -> None:
    first = split([0, 1])
    pixels = first.images.copy()
    pixels[1, 0, 1, 1] ^= 1
    others = [
        Split(pixels, first.labels),
        Split(first.images, 1 - first.labels),
        Split(first.images.reshape(2, 1, 1, 4), first.labels),
    ]
    assert len({s.sha256() for s in [first, *others]}) == 4
    assert split([0, 1]).sha256() == first.sha256()


def test_a_set_names_the_split_that_is_bad() -> None:
    with pytest.raises(
        BadData, match="train of made: labels must be of at least 2 classes, got only class 1"
    ):
        data_set(split([1, 1])).split("train")


def test_a_label_without_a_class_is_refused() -> None:
    with pytest.raises(BadData, match=r"test of made: labels must be 0..1, got 2"):
        data_set(split([0, 2])).split("test")


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(BadData, match=r"test of made: images must be \(3, 2, 2\), got \(1, 2, 2\)"):
        data_set(split([0, 1]), shape=(3, 2, 2)).split("test")


def test_mean_and_std_are_those_of_the_train_pixels() -> None:
    images = np.array([0, 255, 255, 255], np.uint8).reshape(2, 1, 1, 2)
    found = data_set(Split(images, np.array([0, 1], np.int64)), shape=(1, 1, 2))
    assert found.mean == (0.75,)
    assert found.std == pytest.approx((0.75**0.5 / 2,), rel=1e-15)


def test_a_channel_of_one_value_cannot_be_normalised() -> None:
    found = split([0, 1], channels=3)
    found.images[:, 1] = 9
    with pytest.raises(BadData, match="channel 1 of made must vary, got one value everywhere"):
        _ = data_set(found, shape=(3, 2, 2)).mean


def test_normalise_by_hand() -> None:
    images = np.array([0, 51, 255, 102], np.uint8).reshape(1, 2, 1, 2)
    out = normalise(images, (0.0, 0.5), (1.0, 0.25))
    assert out.dtype == np.float32
    assert out.ravel().tolist() == [0.0, np.float32(0.2), 2.0, np.float32(-0.4)]


def test_pixels_stay_as_they_are_with_a_std_of_one_grey_level() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert (normalise(images, (0.0,), (1 / 255,)).ravel() == np.arange(256)).all()


@pytest.mark.parametrize(
    ("images", "mean", "message"),
    [
        (np.zeros((1, 3, 2, 2), np.uint8), (0.5,), "mean and std must be 3 numbers each"),
        (np.zeros((1, 1, 2, 2)), (0.5,), "images must be uint8 .*, got 'float64"),
        (np.zeros((2, 2), np.uint8), (0.5,), r"images must be uint8 .*, got 'uint8 \(2, 2\)'"),
    ],
)
def test_what_cannot_be_normalised(images: np.ndarray, mean: tuple[float, ...], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        normalise(images, mean, mean)
