# SPDX-License-Identifier: Apache-2.0
"""Arrays in one npz file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadData
from edgeshift.data.arrays import as_images, as_labels, read_npz
from edgeshift.data.parts import stratified
from edgeshift.data.split import DataSet, Split

# Split -> ends of array names that are taken for it, as in x_train, y_train.
ENDS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}


def pair(held: dict[str, NDArray[Any]], images: str, labels: str) -> Split:
    """Images and labels by their array names."""
    for name in (images, labels):
        if name not in held:
            raise BadData(f"npz file must hold an array {name!r}, got {', '.join(held) or 'none'}")
    pixels = as_images(held[images], images)
    return Split(pixels, as_labels(held[labels], len(pixels), labels))


def named_splits(held: dict[str, NDArray[Any]]) -> dict[str, Split]:
    """Split name -> its `x_...` and `y_...` arrays, for those that are there."""
    found = {}
    for split, ends in ENDS.items():
        for end in ends:
            if f"x_{end}" in held or f"y_{end}" in held:
                found[split] = pair(held, f"x_{end}", f"y_{end}")
    return found


def cut(whole: Split, seed: int, validation: int, test: int) -> dict[str, Split]:
    """A split in splits."""
    keys = [str(i) for i in range(len(whole))]
    parts = stratified(whole.labels, keys, seed, validation, test)
    return {name: Split(whole.images[i], whole.labels[i]) for name, i in parts.items()}


@dataclass(frozen=True)
class Npz:
    """An npz file with `images` and `labels`, or with `x_train`, `y_train`, `x_test`, `y_test`.

    Images are `(n, h, w)`, `(n, c, h, w)` or `(n, h, w, c)`, integers in 0..255 or floats in 0..1. Labels are
    integers from 0. `classes`, an array of text, names them. Without `x_val` and `y_val` a part of the
    training images is the validation split.

    Attributes:
        path: The file.
        seed: Another seed, another split.
        validation: Percent of each class to choose variants by, where the file does not say.
        test: Percent of each class to report on, where the file does not say.
    """

    card: ClassVar[Card] = Card(
        name="npz",
        says="Your own images and labels as arrays in an .npz file.",
        paper="house rule",
        needs="nothing",
    )

    path: str = ""
    seed: int = 0
    validation: int = 15
    test: int = 15

    def open(self) -> DataSet:
        """See `Source.open`."""
        path = Path(self.path)
        if path.suffix != ".npz" or not path.is_file():
            raise BadData(f"npz data must be a path to an .npz file, got {self.path or 'nothing'}")
        held = read_npz(path)
        splits = self.splits(held)
        labels = np.concatenate([s.labels for s in splits.values()])
        classes = self.class_names(held, labels)
        channels, height, width = splits["train"].images.shape[1:]
        found = DataSet(path.stem, (channels, height, width), classes, splits.__getitem__)
        for which in splits:
            found.split(which)
        return found

    def splits(self, held: dict[str, NDArray[Any]]) -> dict[str, Split]:
        """Split name -> split, cut from a larger one where the file does not say."""
        found = named_splits(held)
        if not found:
            return cut(pair(held, "images", "labels").check(), self.seed, self.validation, self.test)
        if "train" not in found:
            raise BadData(f"npz file must hold an array 'x_train', got {', '.join(held)}")
        missing = {n: p for n, p in (("validation", self.validation), ("test", self.test)) if n not in found}
        if missing:
            shares = {"validation": 0, "test": 0, **missing}
            found.update(cut(found["train"].check(), self.seed, **shares))
        return found

    @staticmethod
    def class_names(held: dict[str, NDArray[Any]], labels: NDArray[np.int64]) -> tuple[str, ...]:
        """The names in the file, or the numbers; every class must have an image."""
        if "classes" in held:
            names = tuple(str(name) for name in held["classes"].ravel())
        else:
            names = tuple(str(i) for i in range(int(labels.max()) + 1))
        if labels.max() >= len(names):
            raise BadData(f"labels must be 0..{len(names) - 1}, got {labels.max()}")
        absent = sorted(set(range(len(names))) - set(np.unique(labels).tolist()))
        if absent:
            raise BadData(f"every class must have images, got none of class {names[absent[0]]}")
        return names
