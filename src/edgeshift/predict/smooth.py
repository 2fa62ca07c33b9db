# SPDX-License-Identifier: Apache-2.0
"""A Gaussian process over features of networks: what is left of a cost once its roofline is taken off."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Widths in units of the root of the number of columns, shares of the linear and of the bent part, and noise over
# signal: the pair that makes the values likeliest is taken.
WIDTHS = (0.5, 1.0, 2.0, 4.0)
SHARES = ((1.0, 0.0), (1.0, 0.3), (1.0, 1.0), (0.3, 1.0), (0.1, 1.0))
NOISE = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
# Standard deviations beyond which a feature counts no further: what lies outside of what was seen stays bounded.
FAR = 6.0


def process(x: Array, y: Array) -> Callable[[Array], Array]:
    """The mean of a Gaussian process with a Matern 3/2 and a linear kernel on standardised columns.

    Rasmussen and Williams, 2006 (http://gaussianprocess.org/gpml/), chapter 5: marginal likelihood, the scale
    worked out.

    Args:
        x: `(n, d)`.
        y: `(n,)`.
    """
    middle, size = x.mean(0), x.std(0)
    used = size > 1e-9
    if not used.any():
        mean = float(y.mean())
        return lambda queries: np.full(len(queries), mean)

    def standard(queries: Array) -> Array:
        found: Array = np.clip((queries - middle)[:, used] / size[used], -FAR, FAR)
        return found

    inside = standard(x)
    columns = inside.shape[1]
    gap = y - y.mean()
    away, linear = distances(inside, inside), inside @ inside.T / columns
    best: tuple[float, float, tuple[float, float], Array] | None = None
    for width in WIDTHS:
        bent = matern(away / (width * np.sqrt(columns)))
        for share in SHARES:
            values, vectors = np.linalg.eigh(share[0] * bent + share[1] * linear)
            turned = vectors.T @ gap
            for noise in NOISE:
                spread = np.maximum(values, 0) + noise
                log = -0.5 * len(y) * np.log(np.mean(turned**2 / spread)) - 0.5 * np.log(spread).sum()
                if best is None or log > best[0]:
                    best = float(log), width * np.sqrt(columns), share, vectors @ (turned / spread)
    assert best is not None
    _, width, (bent_share, linear_share), weights = best
    slope = linear_share * (inside.T @ weights) / columns

    def predict(queries: Array) -> Array:
        z = standard(queries)
        found: Array = y.mean() + z @ slope
        for start in range(0, len(z), 2000):
            near = matern(distances(z[start : start + 2000], inside) / width)
            found[start : start + 2000] += bent_share * (near @ weights)
        return found

    return predict


def distances(a: Array, b: Array) -> Array:
    """`(n, m)` Euclidean distances of rows."""
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    found: Array = np.sqrt(np.maximum(square, 0))
    return found


def matern(distance: Array) -> Array:
    """Matern 3/2 of a distance over the width."""
    scaled = np.sqrt(3) * distance
    found: Array = (1 + scaled) * np.exp(-scaled)
    return found
