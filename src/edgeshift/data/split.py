# SPDX-License-Identifier: Apache-2.0
"""What this room hands out: a data set and its splits."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData, BadValue, UnknownName
from edgeshift.core.values import SPLITS

PIXEL_VALUES = 256


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: `(n, channels, height, width)`, uint8.
        labels: `(n,)`, int64, class of each image from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def check(self) -> "Split":
        """Self, or BadData if it is empty, of one class or of another form."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} {self.images.shape}"
            raise BadData(f"images must be uint8 (n, channels, height, width), got {got}")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            got = f"{self.labels.dtype} {self.labels.shape}"
            raise BadData(f"labels must be int64 ({len(self.images)},), one for each image, got {got}")
        if not self.images.size:
            raise BadData(f"images must be at least one, got shape {self.images.shape}")
        if self.labels.min() < 0:
            raise BadData(f"labels must be from 0, got {self.labels.min()}")
        if self.labels.min() == self.labels.max():
            raise BadData(f"labels must be of at least 2 classes, got only class {self.labels[0]}")
        return self

    def sha256(self) -> str:
        """64 hex digits that change whenever an image or label does."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class DataSet:
    """A data set whose splits are read when first asked for.

    Attributes:
        name: Plug-in name, or the stem of the file or folder.
        input_shape: `(channels, height, width)` of every image.
        classes: Class names; label i is `classes[i]`.
        read: Gives the split called "train", "validation" or "test".
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    read: Callable[[str], Split] = field(repr=False, compare=False)
    _found: dict[str, Split] = field(default_factory=dict, init=False, repr=False, compare=False)

    def split(self, which: str) -> Split:
        """One split, checked; the same object each time.

        Raises:
            UnknownName: If `which` is not "train", "validation" or "test".
            BadData: If the split cannot be used.
        """
        if which not in SPLITS:
            raise UnknownName("split", which, SPLITS)
        if which not in self._found:
            try:
                found = self.read(which).check()
            except BadData as error:
                raise BadData(f"{which} of {self.name}: {error}") from error
            if found.images.shape[1:] != self.input_shape:
                got = found.images.shape[1:]
                raise BadData(f"{which} of {self.name}: images must be {self.input_shape}, got {got}")
            if found.labels.max() >= len(self.classes):
                limit = len(self.classes) - 1
                raise BadData(f"{which} of {self.name}: labels must be 0..{limit}, got {found.labels.max()}")
            self._found[which] = found
        return self._found[which]

    @cached_property
    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the train split, per channel, pixels in 0..1.

        Raises:
            BadData: If a channel has one value everywhere.
        """
        values = np.arange(PIXEL_VALUES) / (PIXEL_VALUES - 1)
        mean, std = [], []
        images = self.split("train").images
        for channel in range(images.shape[1]):
            # Counting the 256 values keeps the sums exact, whatever the number of pixels.
            counts = np.bincount(images[:, channel].ravel(), minlength=PIXEL_VALUES)
            if (counts > 0).sum() < 2:
                raise BadData(f"channel {channel} of {self.name} must vary, got one value everywhere")
            mean.append(float(counts @ values / counts.sum()))
            std.append(float(np.sqrt(counts @ (values - mean[-1]) ** 2 / counts.sum())))
        return tuple(mean), tuple(std)

    @property
    def mean(self) -> tuple[float, ...]:
        """See `moments`."""
        return self.moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """See `moments`."""
        return self.moments[1]


def normalise(images: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """`(pixel / 255 - mean) / std`, each value rounded once.

    Args:
        images: `(n, channels, height, width)`, uint8.
        mean: Per channel, pixels in 0..1.
        std: Per channel, above 0.

    Returns:
        The same shape, float32.

    Raises:
        BadValue: If images, mean and std differ in their number of channels, or images are not uint8.
    """
    channels = images.shape[1] if images.ndim == 4 else 0
    if images.dtype != np.uint8 or not channels:
        raise BadValue("images", f"{images.dtype} {images.shape}", "uint8 (n, channels, height, width)")
    if len(mean) != channels or len(std) != channels:
        raise BadValue(
            "mean and std", (tuple(mean), tuple(std)), f"{channels} numbers each, one for each channel"
        )
    values = np.arange(PIXEL_VALUES) / (PIXEL_VALUES - 1)
    out = np.empty(images.shape, np.float32)
    for channel in range(channels):
        table = ((values - mean[channel]) / std[channel]).astype(np.float32)
        np.take(table, images[:, channel], out=out[:, channel], mode="clip")
    return out
