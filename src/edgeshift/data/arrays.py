# SPDX-License-Identifier: Apache-2.0
"""Arrays from a file to uint8 images and int64 labels, or one line that says why not."""

import lzma
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from edgeshift.core.errors import BadData, NotFinite

WHITE = 255
# Up to this many, an axis is taken for channels: grey, grey + alpha, RGB, RGB + alpha.
MOST_CHANNELS = 4


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an npz file; never unpickles.

    Args:
        path: The file.
        names: Which arrays; all of them must be there. None = all there are.

    Raises:
        BadData: If the file is missing, damaged, holds Python objects or lacks an array.
    """
    try:
        # Opened here: numpy leaves its own file open when the zip is damaged.
        with path.open("rb") as file, archive_of(path, file) as archive:
            for name in names or ():
                if name not in archive.files:
                    held = ", ".join(archive.files) or "none"
                    raise BadData(f"{path} must hold an array {name!r}, got {held}")
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except BadData:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} must be an npz file of plain arrays, got: {error}") from error
    except (lzma.LZMAError, zlib.error) as error:
        raise BadData(f"{path} must be a whole npz file, got a damaged one: {error}") from error


def archive_of(path: Path, file: BinaryIO) -> NpzFile:
    """The open archive; a lone array is none."""
    found = np.load(file, allow_pickle=False)
    if not isinstance(found, NpzFile):
        raise BadData(f"{path} must be an npz file of plain arrays, got a single array")
    return found


def as_images(raw: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Images as `(n, channels, height, width)`, uint8.

    Args:
        raw: `(n, h, w)`, `(n, c, h, w)` or `(n, h, w, c)` with c of 1 to 4; integers in 0..255, or floats in
            0..1, which are multiplied by 255 and rounded to the nearest.
        what: What to call them in a message.

    Raises:
        BadData: If the shape or the range is another.
        NotFinite: If a float is NaN or infinite.
    """
    if raw.ndim == 3:
        raw = raw[:, None]
    elif raw.ndim != 4:
        raise BadData(f"{what} must be (n, h, w), (n, c, h, w) or (n, h, w, c), got shape {raw.shape}")
    elif raw.shape[3] <= MOST_CHANNELS < raw.shape[1]:
        raw = np.moveaxis(raw, 3, 1)
    elif not raw.shape[1] <= MOST_CHANNELS < raw.shape[3]:
        want = f"1 to {MOST_CHANNELS} channels on one of axes 1 and 3"
        raise BadData(f"{what} must have {want}, got shape {raw.shape}")
    if not raw.size:
        raise BadData(f"{what} must hold at least one image, got shape {raw.shape}")
    if raw.dtype.kind == "f":
        scaled: NDArray[np.uint8] = np.rint(in_range(raw, 1, what) * WHITE).astype(np.uint8)
        return np.ascontiguousarray(scaled)
    if raw.dtype.kind not in "ui":
        raise BadData(f"{what} must be integers in 0..255 or floats in 0..1, got {raw.dtype}")
    return np.ascontiguousarray(in_range(raw, WHITE, what).astype(np.uint8))


def in_range(raw: NDArray[Any], top: int, what: str) -> NDArray[Any]:
    """The array itself, if every value is finite and in 0..top."""
    if raw.dtype.kind == "f":
        finite = np.isfinite(raw).reshape(len(raw), -1).all(1)
        if not finite.all():
            raise NotFinite(f"{what} must be finite, got NaN or infinity in image {np.argmin(finite)}")
    low, high = raw.min(), raw.max()
    if low < 0 or high > top:
        raise BadData(f"{what} of type {raw.dtype} must be in 0..{top}, got {low}..{high}")
    return raw


def as_labels(raw: NDArray[Any], count: int, what: str) -> NDArray[np.int64]:
    """Labels as `(count,)`, int64, from 0.

    Raises:
        BadData: If they are no integers from 0, or not one for each image.
    """
    if raw.dtype.kind not in "ui":
        raise BadData(f"{what} must be integers, got {raw.dtype}")
    if raw.shape not in ((count,), (count, 1)):
        raise BadData(f"{what} must be ({count},), one for each image, got shape {raw.shape}")
    labels = raw.reshape(count).astype(np.int64)
    if labels.size and labels.min() < 0:
        raise BadData(f"{what} must be from 0, got {labels.min()}")
    return labels
