# SPDX-License-Identifier: Apache-2.0
"""Peak memory: what must be alive at once, weighed by what a runtime really keeps, times a learnt factor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeshift.predict.arena import arena_bytes
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.layers import AT, Array, graphs
from edgeshift.predict.models.shape import Fitted
from edgeshift.predict.network import Network, count_matrix
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.trees import Fit, held_out, relative_nnls

# Channels that runtimes with blocked layouts round activations up to.
BLOCK = 8


def terms(network: Network, batch_size: int = 0) -> list[float]:
    """Bytes that may count towards a peak, and two constants.

    Args:
        network: Its graph.
        batch_size: At which it runs; 0 = the graph's own. Only the arena's plans are scaled to it.

    Returns:
        Peak of live activations, all weights, input, largest kernel's activations, the same in blocks of channels,
        largest unrolled input of a convolution, largest weight, largest output, number of kernels, 1, the arena as ONNX
        Runtime plans it with 16 channels in a block (AVX-512) and with 8.
    """
    size = batch_size or max(1, network.input_shape[0] if network.input_shape else 1)
    rows = network.kernel_rows

    def column(name: str) -> Array:
        return rows[:, AT[name]]

    blocked = sum(
        4 * np.ceil(column(f"{side}_channels") / BLOCK) * BLOCK * column(f"{side}_places")
        for side in ("in", "out")
    )
    window = column("kernel") ** 2 * column("in_channels") / column("groups")
    unrolled = 4 * column("out_places") * window * ((column("macs") > 0) & (column("kernel") > 1))
    moved = column("bytes_read") - column("weight_bytes") + column("bytes_written")
    return [
        float(network.peak_bytes),
        float(network.weight_bytes),
        float(network.input_bytes),
        float(moved.max()),
        float(np.max(blocked)),
        float(unrolled.max()),
        float(column("weight_bytes").max()),
        float(column("bytes_written").max()),
        float(len(rows)),
        1.0,
        float(arena_bytes(network, size, 16)),
        float(arena_bytes(network, size, 8)),
    ]


@dataclass(frozen=True)
class Footprint(Fitted):
    """A fitted sum of `terms` and its factor.

    Attributes:
        weights: Of the terms, from 0.
        factor: From `described` to the log of the factor.
        residuals: Held out, log.
        unit: Of the costs.
        batch_size: See `terms`.
    """

    weights: Array
    factor: Callable[[Array], Array]
    residuals: Array
    unit: str
    batch_size: int = 0

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`; needs graphs."""
        x, log_sum = described(graphs(queries, "stacked"), self.weights, self.batch_size)
        source = f"stacked, {len(self.residuals)} networks measured"
        return interval(log_sum + self.factor(x), conformal(self.residuals, level), level, source, self.unit)


def described(networks: Sequence[Network], weights: Array, batch_size: int = 0) -> tuple[Array, Array]:
    """Features of a factor, and the log of the weighed sum."""
    parts = np.array([terms(network, batch_size) for network in networks])
    total = np.maximum(parts @ weights, 1.0)
    return np.hstack([np.log1p(parts), count_matrix(networks), parts * weights / total[:, None]]), np.log(
        total
    )


def footprint(
    networks: Sequence[Network], cost: Array, fit: Fit, seed: int, unit: str, batch_size: int = 0
) -> Footprint:
    """Learn from networks whose peak was measured, at a batch size (0 = the graphs' own)."""
    weights = relative_nnls(np.array([terms(network, batch_size) for network in networks]), cost)
    x, log_sum = described(networks, weights, batch_size)
    left = np.log(cost) - log_sum
    return Footprint(weights, fit(x, left), held_out(fit, x, left, seed), unit, batch_size)
