# SPDX-License-Identifier: Apache-2.0
"""A regression on what a network would cost on each of the other devices."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.ridge import Ridge, ridge
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.teachers import Teachers, teach


@dataclass(frozen=True)
class Sources(Model):
    """Ridge from the log cost on every other device, by its own prices, to the log cost on the target.

    Attributes:
        least: Fewest measured networks it accepts.
    """

    card: ClassVar[Card] = Card(
        name="sources",
        says="Ridge on the costs that the other devices' prices give a network.",
        paper="Breiman, Stacked regressions, Machine Learning 1996",
        link="https://doi.org/10.1007/BF00117832",
        needs="measurements",
    )

    least: int = 3

    def __post_init__(self) -> None:
        if self.least < 3:
            raise BadValue("least", self.least, "3 or more")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> "FittedSources":
        """See `Model.fit`; needs another device, and measurements on the target."""
        samples.check()
        cost = samples.column(target) if target in samples.devices else np.full(len(samples), np.nan)
        known = np.flatnonzero(~np.isnan(cost))
        if len(known) < self.least:
            raise BadValue(f"measurements on {target}", len(known), f"at least {self.least}")
        teachers = teach(samples, target, seed)
        line = ridge(teachers.logs(samples.only(known)), np.log(cost[known]))
        return FittedSources(teachers, line, samples.unit, f"sources, {len(known)} measurements")


@dataclass(frozen=True)
class FittedSources(Fitted):
    """One device as a mixture of others.

    Attributes:
        teachers: Hold the others' prices.
        line: From their log costs to the target's.
        unit: Of the answers.
        source: For the reader.
    """

    teachers: Teachers
    line: Ridge
    unit: str
    source: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`."""
        width = conformal(self.line.left_out, level)
        return interval(self.line(self.teachers.logs(queries)), width, level, self.source, self.unit)

    def left_out(self) -> NDArray[np.float64] | None:
        """See `Fitted.left_out`."""
        return self.line.left_out
