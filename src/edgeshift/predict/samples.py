# SPDX-License-Identifier: Apache-2.0
"""What predictors learn from and say: costs of networks on devices, and an answer with an interval."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.core.values import KINDS

if TYPE_CHECKING:
    from edgeshift.predict.network import Network


@dataclass(frozen=True)
class Samples:
    """Costs of n networks on m devices; what was not measured is NaN.

    Attributes:
        features: `(n, d)`, float64: counts of operators, depth, MACs and so on, one row per network.
        cost: `(n, m)`, float64, above 0 in `unit`; NaN = not measured.
        devices: Names of the m columns. Chip, runtime, precision, batch and threads make a device.
        feature_names: d names, or () where a table brings none.
        networks: The n networks as graphs, or () where only features are known.
        profiles: Device name -> flat description (numbers and short texts); devices without one are absent.
        accuracy: `(n,)` in 0..1 or percent, or None.
        quantity: "latency", "peak_memory" or "energy".
        unit: "ms", "bytes", "mJ".
        families: Device name -> its family (one chip under several batch sizes, say); a device without one
            is its own. Who tests on a device must not learn from its family.
    """

    features: NDArray[np.float64]
    cost: NDArray[np.float64]
    devices: tuple[str, ...]
    feature_names: tuple[str, ...] = ()
    networks: tuple["Network", ...] = ()
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    accuracy: NDArray[np.float64] | None = None
    quantity: str = "latency"
    unit: str = "ms"
    families: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    def column(self, device: str) -> NDArray[np.float64]:
        """`(n,)` costs on one device, NaN where it was not measured.

        Raises:
            BadValue: If there is no such device.
        """
        if device not in self.devices:
            raise BadValue("device", device, f"one of {', '.join(self.devices)}")
        return self.cost[:, self.devices.index(device)]

    def family(self, device: str) -> str:
        """The device's family; its own name where none is given."""
        return self.families.get(device, device)

    def only(self, rows: NDArray[np.int64]) -> "Samples":
        """The networks at those places."""
        return replace(
            self,
            features=self.features[rows],
            cost=self.cost[rows],
            networks=tuple(self.networks[i] for i in rows) if self.networks else (),
            accuracy=None if self.accuracy is None else self.accuracy[rows],
        )

    def without(self, devices: Collection[str]) -> "Samples":
        """The same networks on the other devices."""
        kept = [place for place, name in enumerate(self.devices) if name not in devices]
        return replace(self, cost=self.cost[:, kept], devices=tuple(self.devices[i] for i in kept))

    def check(self) -> "Samples":
        """Self, or BadValue."""
        n = len(self.features)
        if self.features.ndim != 2 or not np.isfinite(self.features).all():
            raise BadValue("features", self.features.shape, "(networks, features), finite")
        if self.cost.shape != (n, len(self.devices)):
            raise BadValue("cost", self.cost.shape, f"({n}, {len(self.devices)})")
        known = self.cost[~np.isnan(self.cost)]
        if not (np.isfinite(known).all() and (known > 0).all()):
            raise BadValue("cost", float(known.min()), "above 0 and finite, or NaN where not measured")
        if len(set(self.devices)) != len(self.devices):
            raise BadValue("devices", self.devices, "distinct names")
        for what, values, want in (
            ("feature_names", self.feature_names, self.features.shape[1]),
            ("networks", self.networks, n),
        ):
            if values and len(values) != want:
                raise BadValue(what, len(values), f"{want} of them, or none")
        if self.accuracy is not None and self.accuracy.shape != (n,):
            raise BadValue("accuracy", self.accuracy.shape, f"({n},)")
        return self


@dataclass(frozen=True)
class Prediction:
    """What n networks will cost on one device.

    Attributes:
        value: `(n,)`, the middle estimate in `unit`.
        low: `(n,)`, lower end of the interval.
        high: `(n,)`, upper end.
        level: Share of true values the interval shall hold, such as 0.9.
        unit: As in the samples.
        kind: One of `KINDS`.
        source: Which predictor, and from what: "macs, 20 measurements".
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    level: float = 0.9
    unit: str = "ms"
    kind: str = "predicted"
    source: str = ""

    def check(self) -> "Prediction":
        """Self, or BadValue."""
        if self.kind not in KINDS:
            raise BadValue("kind", self.kind, f"one of {', '.join(KINDS)}")
        if not (np.isfinite(self.value).all() and (self.value > 0).all()):
            raise BadValue("predicted value", float(np.min(self.value)), "above 0 and finite")
        if not ((self.low <= self.value) & (self.value <= self.high)).all():
            raise BadValue("interval", "one that misses its own value", "low <= value <= high")
        if not 0 < self.level < 1 or math.isnan(self.level):
            raise BadValue("level", self.level, "between 0 and 1")
        return self
