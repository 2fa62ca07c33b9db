# SPDX-License-Identifier: Apache-2.0
"""Which rows of a weight meet which columns: exact answers in one pass over the numbers, mostly less.

Bits are joined by "or", which cannot cancel as sums do and runs at the speed of the memory. All that is left of a row
without its signs is 0 only if the row is, and has all bits of the exponent only if one of its numbers is not finite or
several make them up together; only then the numbers themselves are looked at.
"""

from typing import Any, NamedTuple

import numpy as np

from edgeshift.graph.channels import Array

# Numbers looked at in one go: few enough to stay in the cache, and to keep memory flat.
CHUNK = 1 << 18
# Rows, or columns, that are looked at first: enough to find nearly everything that is met in a dense weight.
FIRST = 8
# Float type -> the integers that hold its bits, the mask that takes the sign away, and that of the exponent.
WORDS: dict[Any, tuple[Any, Any, Any]] = {
    np.dtype(np.float32): (np.int32, np.int32(0x7FFFFFFF), np.int32(0x7F800000)),
    np.dtype(np.float64): (np.int64, np.int64(0x7FFFFFFFFFFFFFFF), np.int64(0x7FF0000000000000)),
}


class Scan(NamedTuple):
    """What one pass over a weight shows.

    Attributes:
        rows: `(rows,)`, bool: a number that is not zero in one of the asked columns, or one that is not finite.
        finite: Whether all numbers are.
    """

    rows: Array
    finite: bool


def scan(weight: Array, columns: Array) -> Scan:
    """Rows that meet some columns, and whether all numbers are finite.

    Args:
        weight: `(rows, columns, *taps)`.
        columns: `(columns,)`, bool: which ones count for the rows.
    """
    rows = len(weight)
    none = np.zeros(rows, np.bool_)
    if not weight.size:
        return Scan(none, True)
    bits, sign, exponent = _bits(weight)
    flat = bits.reshape(rows, -1)
    joined = np.bitwise_or.reduce(flat, axis=1) & sign
    live = joined != 0
    doubtful = (joined & exponent) == exponent if exponent else none
    broken = _broken(weight, doubtful) if np.count_nonzero(doubtful) else none
    if np.count_nonzero(columns) < len(columns):
        live = _meet(flat, live, columns, sign) | broken
    return Scan(live, not np.count_nonzero(broken))


def _meet(flat: Array, live: Array, columns: Array, sign: Any) -> Array:
    """`(rows,)`, bool: which of the live rows have a number that is not zero in one of these columns."""
    picked = columns.nonzero()[0]
    if not len(picked):
        return np.zeros(len(flat), np.bool_)
    solid = flat.reshape(len(flat), len(columns), -1)
    # One or two columns tell of nearly every row of a dense weight.
    left = np.count_nonzero(live)
    met = np.zeros(len(flat), np.bool_)
    for column in picked[:FIRST].tolist():
        one = solid[:, column]
        met |= ((one[:, 0] if one.shape[1] == 1 else np.bitwise_or.reduce(one, axis=1)) & sign) != 0
        if np.count_nonzero(met) == left:  # what is met is live
            return met
    doubtful = (live & ~met).nonzero()[0]
    if len(doubtful):
        wanted = np.repeat(columns, solid.shape[2])
        step = max(1, CHUNK // flat.shape[1])
        for start in range(0, len(doubtful), step):
            which = doubtful[start : start + step]
            met[which] = (((flat[which] & sign) != 0) & wanted).any(1)
    return met


def _broken(weight: Array, doubtful: Array) -> Array:
    """`(rows,)`, bool: rows with a number that is not finite, of those in doubt."""
    broken = np.zeros(len(weight), np.bool_)
    which = np.flatnonzero(doubtful)
    flat = weight.reshape(len(weight), -1)
    step = max(1, CHUNK // flat.shape[1])
    for start in range(0, len(which), step):
        here = which[start : start + step]
        broken[here] = ~np.isfinite(flat[here]).all(1)
    return broken


def columns_met(weight: Array, rows: Array, among: Array | None = None) -> Array:
    """Columns on which one of these rows has a number that is not zero; NaN is none.

    Args:
        weight: `(rows, columns, *taps)`.
        rows: `(rows,)`, bool.
        among: `(columns,)`, bool; others are not looked at and come out False.

    Returns:
        `(columns,)`, bool.
    """
    count = weight.shape[1]
    if not weight.size:
        return np.zeros(count, np.bool_)
    bits, sign, _ = _bits(weight)
    flat = bits.reshape(len(weight), -1)
    picked = rows.nonzero()[0]
    wanted = np.ones(count, np.bool_) if among is None else among
    found = _either(flat[picked[:FIRST]], count, sign) & wanted
    if len(picked) <= FIRST or np.array_equal(found, wanted):
        return found
    # Most of what is left is read by no row at all; to see that takes no copy of the rows that count.
    wanted = wanted & _either(flat, count, sign)
    if len(picked) == len(flat):
        return wanted
    size = max(FIRST, CHUNK // flat.shape[1])
    for start in range(FIRST, len(picked), size):
        if np.array_equal(found, wanted):
            break
        found |= _either(flat[picked[start : start + size]], count, sign) & wanted
    return found


def _either(flat: Array, count: int, sign: Any) -> Array:
    """`(count,)`, bool: columns of as many taps each on which one of the rows has a number that is not zero."""
    joined = (np.bitwise_or.reduce(flat, axis=0) & sign) != 0
    return joined if len(joined) == count else np.asarray(joined.reshape(count, -1).any(1))


def _bits(weight: Array) -> tuple[Array, Any, Any]:
    """The numbers as integers, 0 only for zero but for the sign; masks of all but the sign, and of the exponent."""
    if weight.dtype in WORDS:
        word, sign, exponent = WORDS[weight.dtype]
        return weight.view(word), sign, exponent
    return (weight != 0).astype(np.int8), np.int8(1), 0


def nonzero(weight: Array) -> Array:
    """`(rows, columns)`, bool: anything but zero among the taps; NaN counts."""
    if weight.ndim == 2 or not weight.size:
        return np.asarray((weight != 0).any(tuple(range(2, weight.ndim))))
    solid = weight.reshape(*weight.shape[:2], -1)
    if solid.shape[2] == 1:
        return np.asarray(solid[:, :, 0] != 0)
    return np.asarray((solid != 0).any(2))


def finite(weight: Array) -> bool:
    """Whether every number is finite."""
    if weight.dtype.kind != "f" or not weight.size:
        return True
    if weight.ndim < 2 or weight.dtype not in WORDS:
        return bool(np.isfinite(weight).all())
    bits, sign, exponent = _bits(weight)
    joined = np.bitwise_or.reduce(bits.reshape(len(weight), -1), axis=1) & sign
    return not _broken(weight, (joined & exponent) == exponent).any()


def broken_columns(weight: Array, rows: Array) -> Array:
    """`(columns,)`, bool: columns on which one of these rows has NaN or infinity."""
    if not weight.size:
        return np.zeros(weight.shape[1], np.bool_)
    solid = weight.reshape(*weight.shape[:2], -1)
    return np.asarray((~np.isfinite(solid[np.flatnonzero(rows)])).any((0, 2)))
