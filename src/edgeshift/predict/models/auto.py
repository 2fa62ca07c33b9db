# SPDX-License-Identifier: Apache-2.0
"""The predictor that fits what is known: other devices, measurements, or a spec sheet."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict import MODELS
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.samples import Samples
from edgeshift.predict.teachers import LEAST

# Fewer measurements than this and leave-one-out errors cannot tell two predictors apart.
ENOUGH = 8


@dataclass(frozen=True)
class Auto(Model):
    """Other devices measured: `device_net`, unless `count_ridge` errs less; alone `count_ridge`; else `roofline`.

    With at least 8 measurements on the target both are fitted, and the one with the smaller leave-one-out
    errors on them answers: other devices do not help where the new one is unlike all of them.

    Attributes:
        rehearsals: Of `device_net`.
    """

    card: ClassVar[Card] = Card(
        name="auto",
        says="device_net or count_ridge by leave-one-out error; roofline if nothing is measured.",
        paper="house rule, from the records of device_net and count_ridge",
        needs="measurements",
    )

    rehearsals: int = 6

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs what the chosen predictor needs."""
        options = {"device_net": {"rehearsals": self.rehearsals}}
        fitted: list[Fitted] = [
            MODELS.make(name, **options.get(name, {})).fit(samples, target, seed)
            for name in self.tried(samples, target)
        ]
        return min(fitted, key=_error)

    def tried(self, samples: Samples, target: str) -> tuple[str, ...]:
        """Names of the predictors that these samples allow, the preferred one first."""
        measured = (~np.isnan(samples.cost)).sum(0)
        others = [n for d, n in zip(samples.devices, measured, strict=True) if d != target and n >= LEAST]
        own = int(measured[samples.devices.index(target)]) if target in samples.devices else 0
        if others:
            return ("device_net", "count_ridge") if own >= ENOUGH else ("device_net",)
        return ("count_ridge",) if own >= 3 else ("roofline",)


def _error(fitted: Fitted) -> float:
    """Median size of the leave-one-out errors: one stray timing must not decide."""
    errors = fitted.left_out()
    return 0.0 if errors is None else float(np.median(np.abs(errors)))
