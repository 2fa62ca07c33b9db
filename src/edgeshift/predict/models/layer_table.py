# SPDX-License-Identifier: Apache-2.0
"""Every kernel takes as long per unit of work as the measured layers that are most like it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.layers import AT, Layers, layers_of, number_of, roughly, sum_of_layers
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.samples import Samples

Array = NDArray[np.float64]
# Sizes that make two layers of a kind alike, by their logs.
SIZES = ("macs", "in_channels", "out_channels", "in_places", "kernel", "groups", "bits", "batch")


@dataclass(frozen=True)
class LayerTable(Model):
    """Looks each kernel up among the measured layers of its kind and interpolates between the nearest.

    Interpolated is the time over a plain estimate of it, so that sizes outside the table still scale.

    Attributes:
        neighbours: Layers to interpolate between.
    """

    card: ClassVar[Card] = Card(
        name="layer_table",
        says="Sum of measured layers, interpolated between the nearest of each kind.",
        paper="Cai et al., ICLR 2019 (ProxylessNAS, appendix)",
        link="https://arxiv.org/abs/1812.00332",
        needs="measurements",
    )

    neighbours: int = 4

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise BadValue("neighbours", self.neighbours, "at least 1")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs graphs and a profile with measured layers."""
        layers = layers_of(samples, target)
        if layers is None:
            raise BadValue(f"layers of {target} for layer_table", 0, "measured; run edgeshift probe there")
        call = number_of(samples, target, "probe_call_us") / 1000
        return sum_of_layers(samples, target, Nearest(layers, self.neighbours), call, "layer_table")


@dataclass(frozen=True)
class Nearest:
    """The table, and how to look something up in it.

    Attributes:
        layers: Measured.
        neighbours: How many count.
    """

    layers: Layers
    neighbours: int

    def __call__(self, rows: Array) -> Array:
        """`(n,)` ms."""
        factor = np.empty(len(rows))
        kinds = rows[:, AT["kind"]]
        for kind in np.unique(kinds):
            mine = np.flatnonzero(self.layers.rows[:, AT["kind"]] == kind)
            # A kind that was never measured is compared with all layers.
            mine = mine if len(mine) else np.arange(len(self.layers))
            wanted = np.flatnonzero(kinds == kind)
            factor[wanted] = self._factor(rows[wanted], self.layers.rows[mine], self.layers.ms[mine])
        return np.exp(factor) * roughly(rows)

    def _factor(self, rows: Array, table: Array, ms: Array) -> Array:
        there, here = sizes(table), sizes(rows)
        log_factor = np.log(ms / roughly(table))
        k = min(self.neighbours, len(table))
        found = np.empty(len(here))
        for start in range(0, len(here), 4096):  # 4096: bounds the table of distances to tens of MB
            gap = np.abs(here[start : start + 4096, None] - there[None]).sum(axis=-1)
            near = np.argpartition(gap, k - 1, axis=1)[:, :k]
            weight = 1 / (np.take_along_axis(gap, near, 1) + 1e-3)
            found[start : start + 4096] = (log_factor[near] * weight).sum(axis=1) / weight.sum(axis=1)
        return found


def sizes(rows: Array) -> Array:
    """`(n, len(SIZES))` logs of the sizes."""
    return np.log1p(rows[:, [AT[name] for name in SIZES]])
