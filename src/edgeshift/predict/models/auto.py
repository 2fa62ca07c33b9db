# SPDX-License-Identifier: Apache-2.0
"""The predictors that fit what is known: other devices, measurements, or a spec sheet."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict import MODELS
from edgeshift.predict.features import Matrix
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.teachers import LEAST

# Fewer measurements than this and leave-one-out errors cannot weigh predictors.
ENOUGH = 8
# What each predictor's say is before its errors are seen: on pseudo-targets among the source devices of the published
# splits 2 to 1 to 1 ranked better than any alone, than the best by its errors, and than equal shares.
SAY = {"device_net": 2.0, "count_ridge": 1.0, "sources": 1.0}


@dataclass(frozen=True)
class Auto(Model):
    """Other devices measured: `device_net`, `count_ridge` and `sources` mixed; alone `count_ridge`; else `roofline`.

    With at least 8 measurements on the target all three are fitted. Their log costs are mixed, each with a weight of
    its say over its mean squared leave-one-out error: other devices help less where the new one is unlike all of them.

    Attributes:
        rehearsals: Of `device_net`.
    """

    card: ClassVar[Card] = Card(
        name="auto",
        says="device_net, count_ridge and sources, weighed by leave-one-out error; unmeasured: roofline.",
        paper="house rule, from the records of its parts",
        needs="measurements",
    )

    rehearsals: int = 6

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs what the chosen predictors need."""
        options = {"device_net": {"rehearsals": self.rehearsals}}
        names = self.tried(samples, target)
        fitted = tuple(
            MODELS.make(name, **options.get(name, {})).fit(samples, target, seed) for name in names
        )
        if len(fitted) == 1:
            only: Fitted = fitted[0]
            return only
        errors = np.stack([_errors(one) for one in fitted])
        # 1e-12: errors of nothing at all, on a made-up device without noise, still leave weights.
        weights = np.array([SAY[name] for name in names]) / ((errors**2).mean(1) + 1e-12)
        weights /= weights.sum()
        said = ", ".join(f"{name} {weight:.0%}" for name, weight in zip(names, weights, strict=True))
        return Mixed(
            fitted, weights, weights @ errors, samples.unit, f"{said}, {errors.shape[1]} measurements"
        )

    def tried(self, samples: Samples, target: str) -> tuple[str, ...]:
        """Names of the predictors that these samples allow, the preferred one first."""
        measured = (~np.isnan(samples.cost)).sum(0)
        others = [n for d, n in zip(samples.devices, measured, strict=True) if d != target and n >= LEAST]
        own = int(measured[samples.devices.index(target)]) if target in samples.devices else 0
        if others:
            return tuple(SAY) if own >= ENOUGH else ("device_net",)
        return ("count_ridge",) if own >= 3 else ("roofline",)


@dataclass(frozen=True)
class Mixed(Fitted):
    """Several predictors as one.

    Attributes:
        parts: They.
        weights: `(parts,)`, of their log costs; sum 1.
        errors: `(k,)`, log errors of the mixture on the measured networks, each left out.
        unit: Of the answers.
        source: For the reader.
    """

    parts: tuple[Fitted, ...]
    weights: Matrix
    errors: Matrix
    unit: str
    source: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`."""
        logs = np.stack([np.log(part.predict(queries, level).value) for part in self.parts])
        return interval(self.weights @ logs, conformal(self.errors, level), level, self.source, self.unit)

    def left_out(self) -> Matrix | None:
        """See `Fitted.left_out`."""
        return self.errors


def _errors(fitted: Fitted) -> Matrix:
    found = fitted.left_out()
    assert found is not None
    return found
