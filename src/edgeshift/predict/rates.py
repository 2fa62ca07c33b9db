# SPDX-License-Identifier: Apache-2.0
"""Rates of each kind of kernel, from times of layers or of whole networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.layers import AT, LEAST_MS, STEPS, Array, padded_macs, stacked
from edgeshift.predict.network import KINDS, Network, count_matrix
from edgeshift.predict.trees import relative_nnls

Index = NDArray[np.intp]
# Kernels `(n, len(KERNEL_COLUMNS))` -> `(n,)` ms.
LayerMs = Callable[[Array], Array]

# Terms of a kernel's time: padded MACs, bytes of activations, bytes of weights, one launch, one launch per group,
# numbers in the unrolled input of a convolution.
TERMS = 6
# Runtimes have a faster path for channels that fill their blocks: kernels whose channels do are of another kind than
# those whose channels do not. A way of telling them apart is a tuple of block sizes; a kernel's grade is how many of
# them both its channel counts are multiples of.
BLOCKS: tuple[tuple[int, ...], ...] = ((), (8,), (16,), (4, 8), (8, 16), (4, 8, 16))
GRADES = 1 + max(map(len, BLOCKS))
# Kernels of a class below which its rate would be fitted to nothing.
FEW = 3


def grades(rows: Array, blocks: Sequence[int]) -> Index:
    """`(n,)`: of how many of the blocks input and output channels are multiples; up to 4 inputs fit any."""
    c, out = rows[:, AT["in_channels"]], rows[:, AT["out_channels"]]
    found = np.zeros(len(rows), np.intp)
    for block in blocks:
        found += (out % block == 0) & ((c % block == 0) | (c <= 4))
    return found


def classes(rows: Array, blocks: Sequence[int]) -> Index:
    """`(n,)`: kind and grade as one number below `len(KINDS) * GRADES`."""
    return rows[:, AT["kind"]].astype(np.intp) * GRADES + grades(rows, blocks)


def terms(rows: Array, step: int) -> Array:
    """`(n, TERMS)` what a kernel's time is a weighted sum of."""
    weights, groups = rows[:, AT["weight_bytes"]], rows[:, AT["groups"]]
    moved = rows[:, AT["bytes_read"]] - weights + rows[:, AT["bytes_written"]]
    window = np.where(rows[:, AT["kernel"]] > 1, rows[:, AT["kernel"]] ** 2, 0)
    unrolled = rows[:, AT["out_places"]] * rows[:, AT["in_channels"]] * window * rows[:, AT["batch"]]
    each = [padded_macs(rows, step) / 1e6, moved / 1e6, weights / 1e6, np.ones(len(rows)),
            np.where(groups > 1, groups, 0) / 1e2, unrolled / 1e6]  # fmt: skip
    return np.stack(each, 1)


@dataclass(frozen=True)
class Rates:
    """What a kernel takes: its terms, weighed by its class.

    Attributes:
        step: Channels are padded to.
        blocks: That tell classes apart.
        weights: `(len(KINDS) * GRADES, TERMS)`, ms, from 0.
        call_ms: Spent once per call.
        error: Mean relative error on times that were left out; what step and blocks were chosen by.
    """

    step: int
    blocks: tuple[int, ...]
    weights: Array = field(repr=False)
    call_ms: float
    error: float

    def __call__(self, rows: Array) -> Array:
        """`(n,)` ms."""
        found: Array = (terms(rows, self.step) * self.weights[classes(rows, self.blocks)]).sum(1)
        return found

    def classes(self, rows: Array) -> Index:
        """See `classes`."""
        return classes(rows, self.blocks)


def refined(rows: Array, owner: Index, ms: Array, *, call: bool = False) -> Rates:
    """Rates that explain times, of layers or of the networks that own the rows.

    Padding and blocks are those with the least error on times left out in turn, a third each.

    Args:
        rows: Kernels.
        owner: `(n,)` place of the time each belongs to.
        ms: Times, above 0.
        call: Whether a constant per time is fitted too.
    """
    third = np.random.default_rng(0).permutation(len(ms)) % 3 if len(ms) >= 3 * FEW else np.full(len(ms), -1)
    best: tuple[float, int, tuple[int, ...], Array] | None = None
    for step in STEPS:
        each = terms(rows, step)
        for blocks in BLOCKS:
            x = _sums(each, classes(rows, blocks), owner, len(ms), call=call)
            errors = [
                np.abs(
                    x[third == part] @ _weights(x[third != part], ms[third != part]) / ms[third == part] - 1
                )
                for part in range(3)
                if (third == part).any()
            ]
            error = float(np.mean(np.concatenate(errors))) if errors else np.inf
            if best is None or error < best[0]:
                best = error, step, blocks, x
    assert best is not None
    error, step, blocks, x = best
    weights = _weights(x, ms)
    return Rates(step, blocks, weights[:-1].reshape(-1, TERMS), float(weights[-1]), error)


def _sums(each: Array, which: Index, owner: Index, count: int, *, call: bool) -> Array:
    """`(count, classes * TERMS + 1)`: terms of each owner by class, and whether a call is counted."""
    x = np.zeros((count, len(KINDS) * GRADES, TERMS))
    np.add.at(x, (owner, which), each)
    return np.hstack([x.reshape(count, -1), np.full((count, 1), float(call))])


def _weights(x: Array, ms: Array) -> Array:
    """Non-negative weights; of terms that fewer than `FEW` times have, 0 unless there are no more times."""
    used = (x != 0).sum(0) >= min(FEW, len(ms))
    found = np.zeros(x.shape[1])
    found[used] = relative_nnls(x[:, used], ms)
    return found


def from_networks(networks: Sequence[Network], cost: Array) -> Rates:
    """Rates of kernels, and the time of a call, from the costs of whole networks."""
    rows, owner = stacked(networks)
    return refined(rows, owner, cost, call=True)


def shares(networks: Sequence[Network], layer_ms: LayerMs, call: float) -> tuple[Array, Array]:
    """What the factor of a network is learnt from, and the log of its sum.

    Returns:
        `(n, d)`: counts, the log of the sum, and each class's share of it; `(n,)`.
    """
    rows, owner = stacked(networks)
    which = classes(rows, layer_ms.blocks if isinstance(layer_ms, Rates) else ())
    ms = np.maximum(layer_ms(rows), LEAST_MS)
    total = call + np.bincount(owner, ms, len(networks))
    by_class = np.zeros((len(networks), len(KINDS) * GRADES))
    np.add.at(by_class, (owner, which), ms)
    log_sum = np.log(total)
    return np.hstack([count_matrix(networks), log_sum[:, None], by_class / total[:, None]]), log_sum
