# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadData
from edgeshift.data.arrays import as_labels, read_npz
from edgeshift.data.place import set_folder
from edgeshift.data.split import DataSet, Split

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
TRAIN_FILES = 5
VALIDATION = 5_000
HOLDS = "train_1.npz to train_5.npz and test.npz, or data_batch_1.bin to data_batch_5.bin and test_batch.bin"


def unfiltered(delta: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels from differences to the neighbours above, to the left and in green, modulo 256.

    Args:
        delta: `(n, 3, height, width)`, uint8.

    Returns:
        The same shape, uint8, in the order red, green, blue.
    """
    pixels = delta.cumsum(axis=2, dtype=np.uint8).cumsum(axis=3, dtype=np.uint8)
    pixels[:, 0] += pixels[:, 1]
    pixels[:, 2] += pixels[:, 1]
    return pixels


def read_filtered(path: Path) -> Split:
    """One npz file of filtered pixels."""
    held = read_npz(path, ("delta", "labels"))
    delta = held["delta"]
    if delta.dtype != np.uint8 or delta.shape[1:] != SHAPE:
        raise BadData(f"delta in {path} must be uint8 (n, 3, 32, 32), got {delta.dtype} {delta.shape}")
    return Split(unfiltered(delta), as_labels(held["labels"], len(delta), f"labels in {path}"))


def read_binary(path: Path) -> Split:
    """One file of the authors' binary version: a label and 3,072 pixels for each image."""
    raw = np.fromfile(path, np.uint8)
    length = 1 + int(np.prod(SHAPE))
    if not raw.size or raw.size % length:
        raise BadData(f"{path} must be a whole number of {length}-byte records, got {raw.size} bytes")
    records = raw.reshape(-1, length)
    return Split(records[:, 1:].reshape(-1, *SHAPE), records[:, 0].astype(np.int64))


def read_file(folder: Path, number: int) -> Split:
    """Training file 1 to 5, or the test file as number 0."""
    filtered = folder / (f"train_{number}.npz" if number else "test.npz")
    if filtered.is_file():
        return read_filtered(filtered)
    binary = folder / (f"data_batch_{number}.bin" if number else "test_batch.bin")
    if binary.is_file():
        return read_binary(binary)
    raise BadData(f"{folder} must hold {HOLDS}, got neither {filtered.name} nor {binary.name}")


@dataclass(frozen=True)
class Cifar10:
    """60,000 colour images of 32x32 pixels; the last 5,000 training images are the validation split.

    Reads a folder of npz files (pixels filtered as in `unfiltered`, arrays `delta` and `labels`) or the
    authors' binary version.

    Attributes:
        folder: Where the files are; empty = `cifar10` below EDGESHIFT_DATA.
    """

    card: ClassVar[Card] = Card(
        name="cifar10",
        says="60,000 colour images, 32x32, 10 classes.",
        paper="Krizhevsky, 2009",
        link="https://www.cs.toronto.edu/~kriz/cifar.html",
        needs="nothing",
    )

    folder: str = ""

    def open(self) -> DataSet:
        """See `Source.open`; a file is decoded when a split first needs it."""
        folder = set_folder(self.folder, "cifar10", HOLDS)

        @cache
        def last_file() -> Split:
            return read_file(folder, TRAIN_FILES)

        def read(which: str) -> Split:
            if which == "test":
                return read_file(folder, 0)
            last = last_file()
            if which == "validation":
                return Split(last.images[-VALIDATION:], last.labels[-VALIDATION:])
            files = [read_file(folder, i) for i in range(1, TRAIN_FILES)]
            images = np.concatenate([*(f.images for f in files), last.images[:-VALIDATION]])
            return Split(images, np.concatenate([*(f.labels for f in files), last.labels[:-VALIDATION]]))

        return DataSet("cifar10", SHAPE, CLASSES, read)
