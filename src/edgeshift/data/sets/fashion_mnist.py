# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadData
from edgeshift.data.arrays import as_images, as_labels, read_npz
from edgeshift.data.parts import stratified
from edgeshift.data.place import set_folder
from edgeshift.data.split import DataSet, Split

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
SHAPE = (1, 28, 28)
HOLDS = "train.npz and test.npz, or train-images-idx3-ubyte.gz and the three files beside it"
# The authors' file format: two zero bytes, 8 for uint8, the number of axes, then each length.
UINT8 = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in one of the authors' gzip files.

    Raises:
        BadData: If the file is missing or damaged.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
        zeros, kind, axes = struct.unpack(">HBB", raw[:4])
        shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise BadData(f"{path} must be a gzip file in idx format, got: {error}") from error
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if (zeros, kind) != (0, UINT8) or body.size != np.prod(shape):
        raise BadData(f"{path} must hold {shape} bytes in idx format, got {body.size}")
    return body.reshape(shape).copy()


def read_pair(folder: Path, which: str) -> Split:
    """Images and labels of "train" or "test"."""
    held: dict[str, NDArray[Any]]
    if (folder / f"{which}.npz").is_file():
        held = read_npz(folder / f"{which}.npz", ("images", "labels"))
    else:
        start = "train" if which == "train" else "t10k"
        if not (folder / f"{start}-images-idx3-ubyte.gz").is_file():
            raise BadData(f"{folder} must hold {HOLDS}, got no {which} images")
        held = {
            "images": read_idx(folder / f"{start}-images-idx3-ubyte.gz"),
            "labels": read_idx(folder / f"{start}-labels-idx1-ubyte.gz"),
        }
    images = as_images(held["images"], f"{which} images in {folder}")
    return Split(images, as_labels(held["labels"], len(images), f"{which} labels in {folder}"))


@dataclass(frozen=True)
class FashionMnist:
    """Grey images of clothes, 28x28 pixels; a tenth of each training class is the validation split.

    Reads `train.npz` and `test.npz` (arrays `images` and `labels`) or the authors' four gzip files.

    Attributes:
        folder: Where the files are; empty = `fashion_mnist` below EDGESHIFT_DATA.
        seed: Another seed, another validation split.
    """

    card: ClassVar[Card] = Card(
        name="fashion_mnist",
        says="Grey images of clothes, 28x28, 10 classes.",
        paper="Xiao et al., 2017",
        link="https://arxiv.org/abs/1708.07747",
        needs="nothing",
    )

    folder: str = ""
    seed: int = 0

    def open(self) -> DataSet:
        """See `Source.open`."""
        folder = set_folder(self.folder, "fashion_mnist", HOLDS)

        pair = cache(partial(read_pair, folder))

        def read(which: str) -> Split:
            if which == "test":
                return pair("test")
            whole = pair("train")
            keys = [str(i) for i in range(len(whole))]
            chosen = stratified(whole.labels, keys, self.seed, validation=10, test=0)[which]
            return Split(whole.images[chosen], whole.labels[chosen])

        return DataSet("fashion_mnist", SHAPE, CLASSES, read)
