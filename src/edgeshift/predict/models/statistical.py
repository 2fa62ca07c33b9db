# SPDX-License-Identifier: Apache-2.0
"""A forest learns what a layer costs from its sizes; a network costs the sum of its layers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.layers import (
    Array,
    features,
    layers_of,
    measured,
    number_of,
    roughly,
    sum_of_layers,
)
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.trees import both, forest, held_out, ridge


@dataclass(frozen=True)
class Statistical(Model):
    """A forest on layers where layers were measured, else on whole networks.

    On networks it is the mean of the forest and a ridge in log cost over log features: trees do not extrapolate.

    Attributes:
        trees: In the forest.
        least: Measured networks it takes where no layers were measured.
    """

    card: ClassVar[Card] = Card(
        name="statistical",
        says="Forest on layer sizes where layers were measured, else on counts of whole networks.",
        paper="Wess et al., IEEE Access 2021 (ANNETTE)",
        link="https://arxiv.org/abs/2105.03176",
        needs="measurements",
    )

    trees: int = 200
    least: int = 20

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs measured layers and graphs, or `least` networks measured on the target."""
        layers = layers_of(samples, target)
        if layers is not None and samples.networks:
            learnt = forest(self.trees, seed)(features(layers.rows), np.log(layers.ms / roughly(layers.rows)))
            call = number_of(samples, target, "probe_call_us") / 1000

            def layer_ms(rows: Array) -> Array:
                return np.exp(learnt(features(rows))) * roughly(rows)

            return sum_of_layers(samples, target, layer_ms, call, "statistical")
        known, cost = measured(samples, target)
        if len(known) < self.least:
            raise BadValue(
                f"measurements on {target} for statistical", len(known), f"at least {self.least}, or layers"
            )
        x, y, fit = samples.features[known], np.log(cost), both(forest(self.trees, seed), ridge)
        return Whole(fit(x, y), held_out(fit, x, y, seed), samples.unit)


@dataclass(frozen=True)
class Whole(Fitted):
    """What `Statistical` learnt from networks.

    Attributes:
        log_cost: From features.
        residuals: Held out.
        unit: Of the costs.
    """

    log_cost: object
    residuals: Array
    unit: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`."""
        assert callable(self.log_cost)
        source = f"statistical, {len(self.residuals)} networks measured"
        value = self.log_cost(queries.features)
        return interval(value, conformal(self.residuals, level), level, source, self.unit)
