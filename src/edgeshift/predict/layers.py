# SPDX-License-Identifier: Apache-2.0
"""Times of single layers, measured by a probe or a profiler, and what turns their sum into a network's cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.models.shape import Fitted
from edgeshift.predict.network import KERNEL_COLUMNS, KINDS, Network
from edgeshift.predict.samples import Prediction, Samples

Array = NDArray[np.float64]
AT = {name: place for place, name in enumerate(KERNEL_COLUMNS)}
# What a layer-wise prediction may be off where nothing at all was measured on the device: a factor of two.
UNMEASURED = math.log(2)
# Least time of a kernel, ms: below it clocks tell nothing.
LEAST_MS = 1e-5
# Channels a kernel may round up to.
STEPS = (1, 4, 8, 16)


@dataclass(frozen=True)
class Layers:
    """Measured layers of one device.

    Attributes:
        rows: `(n, len(KERNEL_COLUMNS))`, as `Network.kernel_rows`.
        ms: `(n,)`, above 0.
    """

    rows: Array
    ms: Array

    def __len__(self) -> int:
        return len(self.rows)


def layers_of(samples: Samples, target: str) -> Layers | None:
    """The layers in a device's profile, from its probe ("probe_rows") or a profiler ("layers"); None without.

    "layers" is `{"rows": (n, len(KERNEL_COLUMNS)), "ms": (n,)}`. A probe's chain of several layers gives each its
    share by work.

    Raises:
        BadValue: If they are malformed.
    """
    profile = samples.profiles.get(target, {})
    rows, ms = [], []
    for row in profile.get("probe_rows", ()):
        parts = np.array([probe_row(layer) for layer in row["layers"]], np.float64)
        share = roughly(parts)
        rows.append(parts)
        ms.append(float(row["ms"]) * share / share.sum())
    given = profile.get("layers")
    if given is not None:
        rows.append(np.asarray(given["rows"], np.float64).reshape(-1, len(KERNEL_COLUMNS)))
        ms.append(np.asarray(given["ms"], np.float64))
    if not rows:
        return None
    found = Layers(np.concatenate(rows), np.maximum(np.concatenate(ms), LEAST_MS))
    if len(found.rows) != len(found.ms) or not np.isfinite(found.ms).all():
        raise BadValue(
            f"layers of {target}", (found.rows.shape, found.ms.shape), "as many finite times as rows"
        )
    return found


def probe_row(layer: Mapping[str, Any]) -> list[float]:
    """A layer of the probe as a kernel's row."""
    op, c, out = layer["op"], layer["in_channels"], layer["out_channels"]
    side, kernel, stride, groups = layer["side"], layer["kernel"], layer["stride"], layer["groups"]
    there = 1 if op in ("gap", "linear") else math.ceil(side / stride)
    window = kernel * kernel * c // groups
    macs = {"conv": there * there * out * window, "linear": c * out}.get(op, 0)
    weights = 4 * out * (window + 1) if op == "conv" else 4 * out * (c + 1) if op == "linear" else 0
    reads = 4 * c * side * side * (2 if op == "add" else 1)
    small = "conv_1x1" if kernel == 1 else "conv_3x3" if kernel <= 3 else "conv_large"
    grouped = "depthwise" if groups == c else "grouped"
    kind = {
        "relu": "activation",
        "maxpool": "pool",
        "gap": "global_pool",
        "conv": grouped if groups > 1 else small,
    }
    return [
        KINDS.index(kind.get(op, op)), macs, reads + weights, 4 * out * there * there, weights, c, out, side * side,
        there * there, kernel, stride, groups, 32, 1, 0, float(bool(layer["relu"])), 1,
    ]  # fmt: skip


def roughly(rows: Array) -> Array:
    """`(n,)` a time in ms on no device in particular: 20 GMAC/s, 10 GB/s, 2 us a kernel."""
    moved = rows[:, AT["bytes_read"]] + rows[:, AT["bytes_written"]]
    return rows[:, AT["macs"]] / 20e6 + moved / 10e6 + 0.002


def padded_macs(rows: Array, step: int) -> Array:
    """`(n,)` MACs if channels are rounded up to a step; three channels of an image are left as they are."""
    c, out = rows[:, AT["in_channels"]], rows[:, AT["out_channels"]]
    up = np.ceil(out / step) * step / out
    both = np.where((rows[:, AT["groups"]] == 1) & (c > 3), np.ceil(c / step) * step / c, 1)
    return rows[:, AT["macs"]] * up * both


def features(rows: Array) -> Array:
    """`(n, d)` what a regressor sees of a layer: its kind, logs of its sizes, and how well channels fill vectors."""
    kinds = np.eye(len(KINDS))[rows[:, AT["kind"]].astype(int)]
    logs = np.log1p(rows[:, 1:9])
    c, out = rows[:, AT["in_channels"]], rows[:, AT["out_channels"]]
    fill = [np.ceil(x / s) * s / x - 1 for s in STEPS[1:] for x in (c, out)]
    moved = rows[:, AT["bytes_read"]] + rows[:, AT["bytes_written"]]
    rest = [
        *fill,
        rows[:, AT["kernel"]] / 3,
        rows[:, AT["stride"]],
        np.log(np.maximum(rows[:, AT["groups"]], 1)),
        rows[:, AT["bits"]] / 32,
        np.log(np.maximum(rows[:, AT["batch"]], 1)),
        rows[:, AT["adds"]],
        rows[:, AT["activations"]],
        np.log1p(rows[:, AT["macs"]] / np.maximum(moved, 1)),
    ]
    return np.hstack([kinds, logs, np.stack(rest, 1)])


def stacked(networks: Sequence[Network]) -> tuple[Array, NDArray[np.intp]]:
    """All kernels of all networks in one array, and the place of the network each belongs to."""
    rows = [network.kernel_rows for network in networks]
    owner = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    return np.concatenate(rows), owner


def graphs(samples: Samples, who: str) -> tuple[Network, ...]:
    """The networks, which a layer-wise predictor cannot do without.

    Raises:
        BadValue: If the samples hold features only.
    """
    if len(samples.networks) != len(samples):
        raise BadValue(f"networks for {who}", len(samples.networks), f"{len(samples)} graphs, one per sample")
    return samples.networks


def measured(samples: Samples, target: str) -> tuple[NDArray[np.intp], Array]:
    """Which networks were measured on a device, and what they cost; none where it is no column."""
    if target not in samples.devices:
        return np.empty(0, np.intp), np.empty(0)
    column = samples.column(target)
    known = np.flatnonzero(~np.isnan(column))
    return known, column[known]


@dataclass(frozen=True)
class Line:
    """`log cost = offset + slope * log estimate`, with errors of points it did not see.

    Attributes:
        offset: Log of a factor.
        slope: 1 where fewer than `SLOPED` points are known.
        residuals: Leave-one-out, log; empty without points.
    """

    offset: float
    slope: float
    residuals: Array

    def __call__(self, log_estimate: Array) -> Array:
        """`(n,)` log cost."""
        return self.offset + self.slope * log_estimate

    def half_width(self, level: float) -> float:
        """Half-width of an interval, in log units."""
        if len(self.residuals) < 2:
            return 2 * UNMEASURED
        return conformal(self.residuals, level)


# Points from which on the slope is free too: it takes three to have an error left over.
SLOPED = 8


def line(log_estimate: Array, log_cost: Array) -> Line:
    """The least-squares line through points, exact leave-one-out errors with it; the identity without points."""
    n = len(log_cost)
    if n == 0:
        return Line(0.0, 1.0, np.empty(0))
    if n < SLOPED or np.ptp(log_estimate) == 0:
        gap = log_cost - log_estimate
        left_out = (gap - gap.mean()) * n / (n - 1) if n > 1 else np.empty(0)
        return Line(float(gap.mean()), 1.0, left_out)
    x = np.stack([np.ones(n), log_estimate], 1)
    hat = x @ np.linalg.pinv(x)
    offset, slope = np.linalg.lstsq(x, log_cost, rcond=None)[0]
    left_out = (log_cost - hat @ log_cost) / np.maximum(1 - np.diag(hat), 1e-9)
    return Line(float(offset), float(slope), left_out)


@dataclass(frozen=True)
class SumOfLayers(Fitted):
    """Adds what each kernel takes, plus what every call takes, and puts the sum on the target's line.

    Attributes:
        layer_ms: `(kernels, columns)` -> `(kernels,)` ms.
        call_ms: Spent once per call.
        line: From the log of the sum to the log of the cost.
        who: For messages and as source.
        unit: Of the costs.
    """

    layer_ms: Callable[[Array], Array]
    call_ms: float
    line: Line
    who: str
    unit: str = "ms"

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`; needs graphs."""
        total = added(graphs(queries, self.who), self.layer_ms, self.call_ms)
        source = f"{self.who}, {len(self.line.residuals)} networks measured"
        return interval(self.line(np.log(total)), self.line.half_width(level), level, source, self.unit)


def added(networks: Sequence[Network], layer_ms: Callable[[Array], Array], call_ms: float) -> Array:
    """`(n,)` the sums over kernels."""
    rows, owner = stacked(networks)
    sums = np.bincount(owner, np.maximum(layer_ms(rows), LEAST_MS), len(networks))
    return (call_ms + sums).astype(np.float64)


def sum_of_layers(
    samples: Samples, target: str, layer_ms: Callable[[Array], Array], call_ms: float, who: str
) -> SumOfLayers:
    """A layer model put on the line through what was measured on the target."""
    known, cost = measured(samples, target)
    networks = graphs(samples, who)
    total = added([networks[i] for i in known], layer_ms, call_ms) if len(known) else np.empty(0)
    return SumOfLayers(layer_ms, call_ms, line(np.log(total), np.log(cost)), who, samples.unit)


def number_of(samples: Samples, target: str, *names: str) -> float:
    """The first of some numbers that a device's profile has, or 0."""
    profile = samples.profiles.get(target, {})
    return next((float(profile[name]) for name in names if profile.get(name)), 0.0)
