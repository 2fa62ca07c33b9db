# SPDX-License-Identifier: Apache-2.0
"""Work over rate, padded to the vector width, per kind of fused kernel; times what a forest learns is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.footprint import footprint
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.layers import (
    LEAST_MS,
    Array,
    Layers,
    features,
    graphs,
    layers_of,
    measured,
    number_of,
    sum_of_layers,
)
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.network import Network
from edgeshift.predict.rates import LayerMs, from_networks, refined, shares
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.smooth import process
from edgeshift.predict.trees import both, forest, held_out, ridge


@dataclass(frozen=True)
class Stacked(Model):
    """ANNETTE's stack: fused kernels, a refined roofline for each kind, and a statistical factor on top.

    The mapping model is the fusion that `Network.kernels` marks. The refined roofline is `padded MACs / rate +
    bytes / bandwidth + launches` with rates from 0 per kind, apart for channels that fill a runtime's blocks; the
    step channels are padded to and the blocks are chosen by the error on what was left out. Rates come from measured
    layers, or from whole networks where no layer was measured; a forest, and for networks a Gaussian process beside
    it, then learn log(truth / roofline). Unlike the paper, work and bytes add up instead of hiding each other: it
    keeps the fit linear, so that networks alone suffice. Peak memory is stacked likewise: what must be alive at
    once, and a factor.

    Attributes:
        trees: In the forest.
        least: Measured networks from which a factor per network is learnt.
    """

    card: ClassVar[Card] = Card(
        name="stacked",
        says="Refined roofline per kind of fused kernel times a forest's factor, from layers or networks.",
        paper="Wess et al., IEEE Access 2021 (ANNETTE)",
        link="https://arxiv.org/abs/2105.03176",
        needs="measurements",
    )

    trees: int = 200
    least: int = 30

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs graphs, and measured layers or `least` networks measured on the target."""
        networks = graphs(samples, "stacked")
        known, cost = measured(samples, target)
        if samples.quantity == "peak_memory" and len(known) >= self.least:
            fit = both(forest(self.trees, seed), ridge)
            batch_size = int(number_of(samples, target, "batch_size"))
            return footprint([networks[i] for i in known], cost, fit, seed, samples.unit, batch_size)
        layers = layers_of(samples, target) if samples.quantity == "latency" else None
        call = number_of(samples, target, "probe_call_us") / 1000
        if layers is not None:
            layer_ms = self._from_layers(layers, seed)
            if len(known) < self.least:
                return sum_of_layers(samples, target, layer_ms, call, "stacked")
        elif len(known) >= self.least:
            layer_ms = from_networks([networks[i] for i in known], cost)
            call = layer_ms.call_ms
        else:
            raise BadValue(
                f"measurements on {target} for stacked", len(known), f"at least {self.least}, or layers"
            )
        return self._with_factor(layer_ms, call, [networks[i] for i in known], cost, seed, samples.unit)

    def _from_layers(self, layers: Layers, seed: int) -> LayerMs:
        rates = refined(layers.rows, np.arange(len(layers)), layers.ms)
        left = np.log(layers.ms / np.maximum(rates(layers.rows), LEAST_MS))
        factor = forest(self.trees, seed)(features(layers.rows), left)
        return lambda rows: np.maximum(rates(rows), LEAST_MS) * np.exp(factor(features(rows)))

    def _with_factor(
        self,
        layer_ms: LayerMs,
        call: float,
        networks: Sequence[Network],
        cost: Array,
        seed: int,
        unit: str,
    ) -> Fitted:
        x, log_sum = shares(networks, layer_ms, call)
        fit = both(forest(self.trees, seed), process)
        left = np.log(cost) - log_sum
        return Factored(layer_ms, call, fit(x, left), held_out(fit, x, left, seed), unit)


@dataclass(frozen=True)
class Factored(Fitted):
    """What `Stacked` learnt, with a factor per network.

    Attributes:
        layer_ms: Of kernels.
        call: ms once per call.
        factor: From `shares` to the log of the factor.
        residuals: Held out.
        unit: Of the costs.
    """

    layer_ms: LayerMs
    call: float
    factor: Callable[[Array], Array]
    residuals: Array
    unit: str

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`; needs graphs."""
        x, log_sum = shares(graphs(queries, "stacked"), self.layer_ms, self.call)
        source = f"stacked, {len(self.residuals)} networks measured"
        return interval(log_sum + self.factor(x), conformal(self.residuals, level), level, source, self.unit)
