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


@dataclass(frozen=True)
class Auto(Model):
    """Other devices measured: `device_net`. Only the target, from 3 networks on: `count_ridge`. Else `roofline`.

    On the published sets `device_net` had the least error of these at every number of measurements
    (bench/records/predict_transfer_*), so no vote is held where it can be fitted.
    """

    card: ClassVar[Card] = Card(
        name="auto",
        says="device_net if other devices are measured, else count_ridge, else roofline.",
        paper="house rule, from the records of device_net and count_ridge",
        needs="measurements",
    )

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs what the chosen predictor needs."""
        fitted: Fitted = MODELS.make(self.pick(samples, target)).fit(samples, target, seed)
        return fitted

    def pick(self, samples: Samples, target: str) -> str:
        """Name of the predictor for these samples."""
        measured = (~np.isnan(samples.cost)).sum(0)
        others = [n for d, n in zip(samples.devices, measured, strict=True) if d != target and n >= LEAST]
        own = int(measured[samples.devices.index(target)]) if target in samples.devices else 0
        return "device_net" if others else "count_ridge" if own >= 3 else "roofline"
