# SPDX-License-Identifier: Apache-2.0
"""Rates of each kind of kernel, from times of layers or of whole networks."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.layers import AT, STEPS, Array, padded_macs, stacked
from edgeshift.predict.network import KINDS, Network
from edgeshift.predict.trees import relative_nnls

# Terms of a kernel's time: padded MACs, bytes of activations, bytes of weights, one launch.
TERMS = 4


def terms(rows: Array, step: int) -> Array:
    """`(n, kinds * TERMS)`: each kernel's terms in the columns of its kind."""
    kind = rows[:, AT["kind"]].astype(int)
    weights = rows[:, AT["weight_bytes"]]
    moved = rows[:, AT["bytes_read"]] - weights + rows[:, AT["bytes_written"]]
    mine = np.stack([padded_macs(rows, step) / 1e6, moved / 1e6, weights / 1e6, np.ones(len(rows))], 1)
    found = np.zeros((len(rows), len(KINDS), TERMS))
    found[np.arange(len(rows)), kind] = mine
    return found.reshape(len(rows), -1)


def refined(
    rows: Array, owner: NDArray[np.intp], ms: Array, call_ms: list[float] | None = None
) -> Callable[[Array], Array]:
    """Rates that explain times, of layers or of the networks that own the rows.

    Args:
        rows: Kernels.
        owner: `(n,)` place of the time each belongs to.
        ms: Times, above 0.
        call_ms: If given, a constant per time is fitted too and put here.
    """
    best: tuple[float, int, Array] | None = None
    for step in STEPS:
        x = np.zeros((len(ms), len(KINDS) * TERMS))
        np.add.at(x, owner, terms(rows, step))
        if call_ms is not None:
            x = np.hstack([x, np.ones((len(ms), 1))])
        weights = relative_nnls(x, ms)
        error = float(np.abs(x @ weights / ms - 1).mean())
        if best is None or error < best[0]:
            best = error, step, weights
    assert best is not None
    _, step, weights = best
    if call_ms is not None:
        call_ms.append(float(weights[-1]))
        weights = weights[:-1]
    return lambda queries: terms(queries, step) @ weights


def from_networks(networks: Sequence[Network], cost: Array) -> tuple[Callable[[Array], Array], float]:
    """Rates of kernels, and the time of a call, from the costs of whole networks."""
    rows, owner = stacked(networks)
    call: list[float] = []
    rates = refined(rows, owner, cost, call)
    return rates, call[0]
