# SPDX-License-Identifier: Apache-2.0
"""Whole cost tables that agree with what was measured: draws from what is believed of a device."""

from collections.abc import Sequence

import numpy as np

from edgeshift.predict.adapt import Belief, Way
from edgeshift.predict.features import Matrix


def draw(
    beliefs: Sequence[Belief], inputs: Sequence[Way], count: int, seed: int = 0, *, noise: bool = True
) -> Matrix:
    """`(count, n)` log costs, each row one device that the measurements allow.

    Args:
        beliefs: One per view.
        inputs: The networks in the same views.
        count: How many tables.
        seed: Of the draws.
        noise: Whether each cost carries the error of one measurement, as what will be measured does.
    """
    rng = np.random.default_rng(seed)
    weights = np.array([belief.weight for belief in beliefs])
    views = rng.choice(len(beliefs), size=count, p=weights / weights.sum())
    found = np.empty((count, len(inputs[0].base)))
    for place, (belief, way) in enumerate(zip(beliefs, inputs, strict=True)):
        rows = np.flatnonzero(views == place)
        if len(rows) == 0:
            continue
        # Half of a covariance by its eigenvalues: rounding leaves some a hair below 0.
        values, vectors = np.linalg.eigh(belief.spread)
        half = vectors * np.sqrt(np.maximum(values, 0))
        steps = belief.mean + rng.normal(size=(len(rows), len(values))) @ half.T
        made = way.base + steps @ way.all.T
        log = np.log(np.maximum(made, 0.02 * np.median(way.base)) * belief.level)
        if noise:
            log = log + np.sqrt(belief.noise) * rng.normal(size=log.shape)
        found[rows] = log
    return found
