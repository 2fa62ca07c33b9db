# SPDX-License-Identifier: Apache-2.0
"""A regression on operator counts from the target's own measurements: the baseline every transfer must beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.features import counts_only
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.ridge import Ridge, ridge
from edgeshift.predict.samples import Prediction, Samples


@dataclass(frozen=True)
class CountRidge(Model):
    """Ridge from counts, depth and log sums to log cost; no other device is looked at.

    Attributes:
        least: Fewest measured networks it accepts.
    """

    card: ClassVar[Card] = Card(
        name="count_ridge",
        says="Ridge on operator counts, fitted on the target's own measurements only.",
        paper="house rule: the baseline that published transfer methods leave out",
        needs="measurements",
    )

    least: int = 3

    def __post_init__(self) -> None:
        if self.least < 3:
            raise BadValue("least", self.least, "3 or more")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> "FittedCountRidge":
        """See `Model.fit`; needs measurements on the target."""
        cost = samples.check().column(target) if target in samples.devices else np.full(len(samples), np.nan)
        known = ~np.isnan(cost)
        if known.sum() < self.least:
            raise BadValue(f"measurements on {target}", int(known.sum()), f"at least {self.least}")
        line = ridge(counts_only(samples)[known], np.log(cost[known]))
        return FittedCountRidge(line, samples.unit, f"count_ridge, {int(known.sum())} measurements")


@dataclass(frozen=True)
class FittedCountRidge(Fitted):
    """One device's line.

    Attributes:
        line: From counts to log cost.
        unit: Of the answers.
        source: For the reader.
    """

    line: Ridge
    unit: str
    source: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`."""
        width = conformal(self.line.left_out, level)
        return interval(self.line(counts_only(queries)), width, level, self.source, self.unit)

    def left_out(self) -> NDArray[np.float64] | None:
        """See `Fitted.left_out`."""
        return self.line.left_out
