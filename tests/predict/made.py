# SPDX-License-Identifier: Apache-2.0
"""Networks and a device with a known truth, for tests of predictors that look at kernels."""

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.layers import AT, padded_macs, stacked
from edgeshift.predict.network import COUNT_NAMES, Network, Node, count_matrix
from edgeshift.predict.samples import Samples


def chain(name: str, widths: tuple[int, ...], side: int = 16) -> Network:
    """3 x 3 convolutions one after the other, then a linear layer."""
    nodes: list[Node] = []
    c = 3
    for place, out in enumerate(widths):
        shape, weights = (1, out, side, side), 9 * c * out
        nodes.append(
            Node(
                "Conv", (place - 1,), (1, c, side, side), shape, weights * side * side, weights,
                4 * (weights + c * side * side), 4 * out * side * side, (3, 3), into=place,
            )
        )  # fmt: skip
        c = out
    last = len(nodes)
    inner = c * side * side
    nodes.append(
        Node("Gemm", (last - 1,), (1, inner), (1, 10), 10 * inner, 10 * inner, 44 * inner, 40, into=last)
    )
    return Network(name, tuple(nodes), (1, 3, side, side), 12 * side * side).check()


def networks(n: int, seed: int = 0) -> tuple[Network, ...]:
    """Chains of random depth and width."""
    random = np.random.default_rng(seed)
    return tuple(
        chain(
            f"n{i}",
            tuple(int(w) for w in random.integers(4, 64, random.integers(2, 6))),
            int(random.choice([8, 16])),
        )
        for i in range(n)
    )


def truth(found: tuple[Network, ...], step: int = 8) -> NDArray[np.float64]:
    """Milliseconds on a device of 10 GMAC/s that pads channels, 5 GB/s, 3 us a kernel and 20 us a call."""
    rows, owner = stacked(found)
    moved = rows[:, AT["bytes_read"]] + rows[:, AT["bytes_written"]]
    ms = padded_macs(rows, step) / 10e6 + moved / 5e6 + 0.003
    return 0.02 + np.bincount(owner, ms, len(found))


def samples(found: tuple[Network, ...], known: int, seed: int = 0) -> Samples:
    """The first `known` networks measured on "here", with 1 % noise."""
    noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal(len(found)))
    cost = truth(found) * noise
    cost[known:] = np.nan
    return Samples(count_matrix(found), cost[:, None], ("here",), COUNT_NAMES, found).check()


def queries(found: tuple[Network, ...]) -> Samples:
    """Networks without costs."""
    return Samples(count_matrix(found), np.empty((len(found), 0)), (), COUNT_NAMES, found)
