# SPDX-License-Identifier: Apache-2.0
"""Cost as a power of the multiply-accumulates: the baseline that every other predictor must beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import interval
from edgeshift.predict.layers import Line, line, measured
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.samples import Prediction, Samples


@dataclass(frozen=True)
class Macs(Model):
    """`log cost = a + b log(1 + MACs)`, through what was measured on the target; b = 1 below 8 measurements.

    Attributes:
        feature: Name of the column that holds the log of the work.
    """

    card: ClassVar[Card] = Card(
        name="macs",
        says="Cost as a power of the multiply-accumulates, fitted on the device's own measurements.",
        paper="house rule",
        needs="measurements",
    )

    feature: str = "log_macs"

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs two measurements on the target."""
        known, cost = measured(samples, target)
        if len(known) < 2:
            raise BadValue(f"measurements on {target} for macs", len(known), "at least 2")
        work = log_work(samples, self.feature)
        return Power(self.feature, line(work[known], np.log(cost)), samples.unit)


def log_work(samples: Samples, feature: str) -> NDArray[np.float64]:
    """`(n,)` log of the work: from the feature of that name, or from the graphs."""
    if feature in samples.feature_names:
        return samples.features[:, samples.feature_names.index(feature)]
    if samples.networks:
        return np.log1p([float(network.macs) for network in samples.networks])
    raise BadValue("feature_names", samples.feature_names, f"names with {feature}, or networks as graphs")


@dataclass(frozen=True)
class Power(Fitted):
    """What `Macs` learnt.

    Attributes:
        feature: Column of the log of the work.
        line: From it to the log of the cost.
        unit: Of the costs.
    """

    feature: str
    line: Line
    unit: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`."""
        source = f"macs, {len(self.line.residuals)} networks measured"
        value = self.line(log_work(queries, self.feature))
        return interval(value, self.line.half_width(level), level, source, self.unit)
