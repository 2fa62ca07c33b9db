# SPDX-License-Identifier: Apache-2.0
"""Which rows of a weight meet which columns: exact answers in one pass over the numbers, mostly less.

A sum that is not zero shows that something in it is not, and costs one matrix-vector product, which is as quick as
reading the memory. Only where a sum is zero the numbers themselves are looked at. A number that is not finite makes
every sum that it is in not finite, even times zero, and so is never missed.
"""

from typing import Any, NamedTuple

import numpy as np

from edgeshift.graph.channels import Array

# Numbers looked at in one go: few enough to stay in the cache, and to keep memory flat.
CHUNK = 1 << 18
# Rows that are looked at first: enough to find nearly every column that is read in a dense weight.
FIRST = 8
WORDS: dict[Any, Any] = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


class Scan(NamedTuple):
    """What one pass over a weight shows.

    Attributes:
        rows: `(rows,)`, bool: a number that is not zero in one of the asked columns, or one that is not finite.
        finite: Whether all sums are finite; False also where finite numbers overflow.
        idle: `(columns,)`, bool: no row has a number that is not zero.
    """

    rows: Array
    finite: bool
    idle: Array


def scan(weight: Array, columns: Array) -> Scan:
    """Read a weight once, block by block, so that both questions find the block in the cache.

    Args:
        weight: `(rows, columns, *taps)`.
        columns: `(columns,)`, bool: which ones count for the rows.
    """
    rows = len(weight)
    if not weight.size:
        return Scan(np.zeros(rows, np.bool_), True, np.ones(len(columns), np.bool_))
    flat = weight.reshape(rows, -1)
    bits, sign = _bits(weight)
    bits = bits.reshape(rows, -1)
    taps = flat.shape[1] // len(columns)
    wanted = columns if taps == 1 else np.repeat(columns, taps)
    vector = wanted.astype(flat.dtype if flat.dtype.kind == "f" else np.float64)
    step = max(1, CHUNK // flat.shape[1])
    sums = np.empty(rows, vector.dtype)
    met = np.zeros(flat.shape[1], bits.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, rows, step):
            end = start + step
            sums[start:end] = flat[start:end] @ vector
            met |= np.bitwise_or.reduce(bits[start:end], axis=0)
    live = sums != 0  # NaN is not zero
    doubtful = np.flatnonzero(~live)
    whole = bool(columns.all())
    for start in range(0, len(doubtful), step):
        which = doubtful[start : start + step]
        numbers = flat[which] != 0
        live[which] = (numbers if whole else numbers & wanted).any(1)
    idle = (met & sign) == 0
    if taps > 1:
        idle = idle.reshape(len(columns), taps).all(1)
    return Scan(live, bool(np.isfinite(sums).all()), idle)


def columns_met(weight: Array, rows: Array, among: Array | None = None) -> Array:
    """Columns on which one of these rows has a number that is not zero; NaN is none.

    Bits are joined by "or", which cannot cancel as sums do and runs as quickly.

    Args:
        weight: `(rows, columns, *taps)`.
        rows: `(rows,)`, bool.
        among: `(columns,)`, bool; others are not looked at and come out False.

    Returns:
        `(columns,)`, bool.
    """
    count = weight.shape[1]
    found = np.zeros(count, np.bool_)
    if not weight.size:
        return found
    bits, sign = _bits(weight)
    flat = bits.reshape(len(weight), -1)
    picked = np.flatnonzero(rows)
    done, size = 0, FIRST
    while done < len(picked):
        here = picked[done : done + size]
        either = np.bitwise_or.reduce(flat[here], axis=0) & sign
        found |= (either.reshape(count, -1) != 0).any(1)
        if (found if among is None else found[among]).all():
            break
        done += len(here)
        size = max(FIRST, CHUNK // flat.shape[1])
    return found if among is None else found & among


def _bits(weight: Array) -> tuple[Array, Any]:
    """The numbers as integers that are 0 only for zero, once the sign is masked away; and that mask."""
    if weight.dtype in WORDS:
        word = WORDS[weight.dtype]
        return weight.view(word), np.iinfo(word).max
    return (weight != 0).astype(np.int8), np.int8(1)


def nonzero(weight: Array) -> Array:
    """`(rows, columns)`, bool: anything but zero among the taps; NaN counts."""
    if weight.ndim == 2 or not weight.size:
        return np.asarray((weight != 0).any(tuple(range(2, weight.ndim))))
    solid = weight.reshape(*weight.shape[:2], -1)
    if solid.shape[2] == 1:
        return np.asarray(solid[:, :, 0] != 0)
    return np.asarray((solid != 0).any(2))


def finite(weight: Array) -> bool:
    """Whether every number is finite; False also where their sum overflows, which errs to the careful side."""
    if weight.dtype.kind != "f" or not weight.size:
        return True
    if weight.ndim < 2:
        return bool(np.isfinite(weight).all())
    flat = weight.reshape(len(weight), -1)
    # numpy's own sum takes five times as long as a matrix-vector product.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(flat @ np.ones(flat.shape[1], flat.dtype)).all())


def broken_columns(weight: Array, rows: Array) -> Array:
    """`(columns,)`, bool: columns on which one of these rows has NaN or infinity."""
    if not weight.size:
        return np.zeros(weight.shape[1], np.bool_)
    solid = weight.reshape(*weight.shape[:2], -1)
    return np.asarray((~np.isfinite(solid[np.flatnonzero(rows)])).any((0, 2)))
