# SPDX-License-Identifier: Apache-2.0
"""A portfolio's variants as networks to predict, and measurements of them as samples for any device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData
from edgeshift.devices import DeviceProfile
from edgeshift.devices import device as find_device
from edgeshift.portfolio import Portfolio
from edgeshift.predict import MODELS
from edgeshift.predict.network import COUNT_NAMES, count_matrix
from edgeshift.predict.onnx_network import network_of
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.table import read_table, write_table

# The table of a portfolio's own samples, beside its manifest.
SAMPLES = "samples.npz"


def networks(portfolio: Portfolio, batch_size: int = 1) -> Samples:
    """Every variant's counts and graph, on no device."""
    found = tuple(network_of(portfolio.onnx(v), batch_size, v.name) for v in portfolio.variants)
    return Samples(
        features=count_matrix(found),
        cost=np.empty((len(found), 0)),
        devices=(),
        feature_names=COUNT_NAMES,
        networks=found,
    ).check()


def join(queries: Samples, known: Samples | None, target: str, profile: Mapping[str, Any] | None) -> Samples:
    """The queries with what a table knows: its networks below them, and costs of equal networks beside them.

    Args:
        queries: Networks on no device.
        known: A table with the same features, or None.
        target: The device to predict for; it gets a column.
        profile: Its spec sheet, or None.

    Raises:
        BadData: If the table's features are others.
    """
    profiles = {target: dict(profile)} if profile else {}
    if known is None:
        empty = np.full((len(queries), 1), np.nan)
        return replace(queries, cost=empty, devices=(target,), profiles=profiles)
    if known.feature_names != queries.feature_names:
        raise BadData(
            f"feature_names of the samples must be those of `edgeshift bench --for`, got {len(known.feature_names)}"
        )
    devices = known.devices if target in known.devices else (*known.devices, target)
    table = np.full((len(queries) + len(known), len(devices)), np.nan)
    table[len(queries) :, : len(known.devices)] = known.cost
    for row, wanted in enumerate(queries.features):
        same = np.flatnonzero(np.isclose(known.features, wanted, rtol=1e-9, atol=0).all(1))
        for place in same:  # later measurements of the same network replace earlier ones
            costs = known.cost[place]
            there = np.flatnonzero(~np.isnan(costs))
            table[row, there] = costs[there]
    # The table's own rows of those networks would count twice.
    twice = np.array(
        [np.isclose(queries.features, row, rtol=1e-9, atol=0).all(1).any() for row in known.features], bool
    )
    kept = np.concatenate([np.ones(len(queries), bool), ~twice])
    features = np.vstack([queries.features, known.features])[kept]
    return Samples(
        features,
        table[kept],
        devices,
        queries.feature_names,
        profiles=profiles,
        families=dict(known.families),
    ).check()


def append(path: Path, queries: Samples, device: str, latency_ms: Sequence[float]) -> Samples:
    """Add one measurement of every query on a device to a table; the file is made if it is not there.

    Raises:
        BadData: If the file holds other features.
    """
    new = np.array(latency_ms, np.float64)
    if path.exists():
        known = read_table(path)
        if known.feature_names != queries.feature_names:
            raise BadData(
                f"feature_names of {path} must be those of networks, got {len(known.feature_names)} others"
            )
        devices = known.devices if device in known.devices else (*known.devices, device)
        cost = np.full((len(known) + len(queries), len(devices)), np.nan)
        cost[: len(known), : len(known.devices)] = known.cost
        cost[len(known) :, devices.index(device)] = new
        features, families = np.vstack([known.features, queries.features]), dict(known.families)
    else:
        features, cost, devices, families = queries.features, new[:, None], (device,), {}
    samples = Samples(features, cost, devices, queries.feature_names, families=families).check()
    write_table(path, samples)
    return samples


@dataclass(frozen=True)
class Answered:
    """What every variant of a portfolio costs on a device.

    Attributes:
        device: Name.
        prediction: ms of all variants; of what was measured there, the measurement with an interval of no width.
        measured: `(n,)`, which were measured there.
        kind: Of the others: "predicted", or "modelled" where nothing was measured anywhere.
    """

    device: str
    prediction: Prediction
    measured: NDArray[np.bool_]
    kind: str


def ask(
    portfolio: Portfolio, name: str, table: Path | None = None, model: str = "auto", level: float = 0.9,
    batch_size: int = 1,
) -> Answered:  # fmt: skip
    """Every variant's latency on a device that has a profile, or samples in a table.

    Args:
        portfolio: With ONNX files.
        name: Of a device, a profile's file, or a device of the table.
        table: Samples; None = those beside the manifest, where `edgeshift bench --for` keeps them.
        model: Name of a predictor.
        level: Share of true costs an interval shall hold.
        batch_size: Inputs per call.

    Raises:
        UnknownName: If there is no such device.
    """
    queries = networks(portfolio, batch_size)
    file = table or portfolio.path / SAMPLES
    known = read_table(file) if table is not None or file.exists() else None
    profile = None if known is not None and name in known.devices else find_device(name)
    device = name if profile is None else profile.name
    joined = join(queries, known, device, spec(profile) if profile else None)
    found = MODELS.make(model).fit(joined, device).predict(queries, level)
    truth = joined.column(device)[: len(queries)]
    seen = ~np.isnan(truth)
    value, low, high = (np.where(seen, truth, x) for x in (found.value, found.low, found.high))
    kind = found.kind if (~np.isnan(joined.cost)).any() else "modelled"
    return Answered(device, replace(found, value=value, low=low, high=high), seen, kind)


def spec(profile: DeviceProfile) -> dict[str, Any]:
    """A profile as the flat numbers and texts that predictors read; what is not known is left out."""
    found = profile.flat()
    return {key: value for key, value in found.items() if value or isinstance(value, bool)}
