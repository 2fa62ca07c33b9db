# SPDX-License-Identifier: Apache-2.0
"""Arrays in an npz file."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadData, NotFinite
from edgeshift.core.values import SPLITS
from edgeshift.data import DataSet, open_set


def opened(folder: Path, options: dict[str, Any] | None = None, **arrays: Any) -> DataSet:
    np.savez(folder / "mine.npz", **arrays)
    return open_set(folder / "mine.npz", options=options)


def pixels(count: int, start: int = 0) -> np.ndarray:
    """Images that all differ: number i is written in its first two pixels."""
    images = np.zeros((count, 6, 5), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = divmod(np.arange(start, start + count), 256)
    images[:, 3, 3] = 9
    return images


def numbers(found: DataSet, which: str) -> list[int]:
    first = found.split(which).images[:, 0, 0, :2].astype(int)
    return (first[:, 0] * 256 + first[:, 1]).tolist()


def test_one_pair_of_arrays_is_split_without_loss(tmp_path: Path) -> None:
    found = opened(tmp_path, images=pixels(400), labels=np.arange(400) % 4)
    parts = [numbers(found, which) for which in SPLITS]
    assert [len(p) for p in parts] == [280, 60, 60]
    assert sorted(itertools.chain(*parts)) == list(range(400))


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    found = opened(tmp_path, images=pixels(400), labels=np.arange(400) % 4)
    for which in SPLITS:
        assert found.split(which).labels.tolist() == [n % 4 for n in numbers(found, which)]


def test_shares_can_be_chosen(tmp_path: Path) -> None:
    options = {"validation": 25, "test": 50}
    found = opened(tmp_path, options, images=pixels(80), labels=np.arange(80) % 2)
    assert [len(found.split(which)) for which in SPLITS] == [20, 20, 40]


@pytest.mark.parametrize("end", ["val", "valid", "validation"])
def test_named_splits_are_kept(end: str, tmp_path: Path) -> None:
    arrays = {"x_train": pixels(10), f"x_{end}": pixels(6, 10), "x_test": pixels(4, 16)}
    labels = {k.replace("x_", "y_"): np.arange(len(v)) % 2 for k, v in arrays.items()}
    found = opened(tmp_path, **arrays, **labels)
    assert [numbers(found, which) for which in SPLITS] == [
        list(range(10)),
        list(range(10, 16)),
        list(range(16, 20)),
    ]


def test_validation_is_cut_from_train_where_it_is_absent(tmp_path: Path) -> None:
    found = opened(
        tmp_path,
        x_train=pixels(100),
        y_train=np.arange(100) % 2,
        x_test=pixels(10, 100),
        y_test=np.arange(10) % 2,
    )
    assert [len(found.split(which)) for which in SPLITS] == [86, 14, 10]
    assert sorted(numbers(found, "train") + numbers(found, "validation")) == list(range(100))


def test_classes_are_numbered_or_named(tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    assert opened(tmp_path, images=pixels(12), labels=labels).classes == ("0", "1", "2")
    assert opened(tmp_path, images=pixels(12), labels=labels, classes=["cat", "dog", "owl"]).classes == (
        "cat",
        "dog",
        "owl",
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": pixels(9)}, "npz file must hold an array 'images', got pictures"),
        ({"images": pixels(9)}, "npz file must hold an array 'labels', got images"),
        ({"x_train": pixels(9)}, "npz file must hold an array 'y_train', got x_train"),
        (
            {"x_test": pixels(9), "y_test": np.arange(9) % 2},
            "npz file must hold an array 'x_train', got x_test, y_test",
        ),
        ({"images": pixels(0), "labels": np.arange(0)}, "images must hold at least one image"),
        (
            {"images": pixels(9), "labels": np.zeros(9, int)},
            "labels must be of at least 2 classes, got only class 0",
        ),
        ({"images": pixels(9), "labels": np.ones(9)}, "labels must be integers, got float64"),
        ({"images": pixels(9), "labels": np.arange(9) % 3 - 1}, "labels must be from 0, got -1"),
        (
            {"images": pixels(9), "labels": np.arange(9) % 3 * 2},
            "every class must have images, got none of class 1",
        ),
        (
            {"images": pixels(9), "labels": np.arange(9) % 3, "classes": ["a", "b"]},
            r"labels must be 0..1, got 2",
        ),
        ({"images": pixels(5), "labels": np.array([0, 0, 0, 1, 1])}, "class 1 must have at least 3 images"),
        (
            {
                "x_train": pixels(9),
                "y_train": np.arange(9) % 2,
                "x_test": np.zeros((4, 3, 6, 5), np.uint8),
                "y_test": np.arange(4) % 2,
            },
            r"test of mine: images must be \(1, 6, 5\), got \(3, 6, 5\)",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=message):
        opened(tmp_path, **arrays)


def test_nan_is_refused(tmp_path: Path) -> None:
    images = pixels(9) / 255
    images[4, 2, 2] = np.nan
    with pytest.raises(NotFinite, match="images must be finite, got NaN or infinity in image 4"):
        opened(tmp_path, images=images, labels=np.arange(9) % 2)
