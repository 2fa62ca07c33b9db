# SPDX-License-Identifier: Apache-2.0
"""One device stands for another: an affine map of its log cost, or its prices scaled one by one (AdaProxy)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
PENALTIES = np.logspace(-8, 2, 31)


@dataclass(frozen=True)
class Scaled:
    """AdaProxy's result.

    Attributes:
        weights: `(p,)`, the target's linear predictor.
        offset: Added to it.
        left_out: `(n,)`, truth minus prediction, each by a fit without that row, in the cost's unit.
    """

    weights: Matrix
    offset: float
    left_out: Matrix


def linear_proxy(features: Matrix, cost: Matrix) -> Matrix:
    """`(p,)`: least squares of the proxy's cost on features; the pseudo-inverse copes with one-hot codes.

    1e-8: with a smaller cut-off collinear one-hot columns get weights of 1e10.
    """
    found: Matrix = np.linalg.pinv(features, rcond=1e-8) @ cost
    return found


def scale_prices(weights: Matrix, features: Matrix, cost: Matrix) -> Scaled:
    """The target's weights `w * (a + b)` and offset `c` from few measurements.

    `min (1/n) sum (x' (w * (a + b)) + c - y)^2 + lambda |b|^2` (Lu et al., SIGMETRICS 2022,
    https://arxiv.org/abs/2111.01203), a ridge in closed form with `a` and `c` nearly free; lambda has the
    least exact leave-one-out error, where the paper holds out ten of the measured networks.

    Args:
        weights: `(p,)`, the proxy's.
        features: `(n, p)` of the measured networks.
        cost: `(n,)`, theirs on the target.
    """
    z = features * weights
    u = z.sum(1)
    size = float(np.sqrt((u**2).mean())) or 1.0
    z, u = z / size, u / size
    # 1e4 times the signal's own variance: what is nearly free.
    free = 1e4 * (np.outer(u, u) + 1)
    base = z @ z.T
    typical = max(float(np.trace(base)) / len(base), 1e-30)
    scale = float(cost.std()) or 1.0
    y = cost / scale
    best, chosen = np.inf, (1.0, np.zeros(len(y)), y)
    for penalty in PENALTIES * len(y):
        kernel = base / typical + free + penalty * np.eye(len(y))
        inverse = np.linalg.inv(kernel)
        alpha = inverse @ y
        errors = alpha / np.diag(inverse)
        if float(errors @ errors) < best:
            best, chosen = float(errors @ errors), (penalty, alpha, errors)
    _, alpha, errors = chosen
    a = 1e4 * float(u @ alpha)
    b = z.T @ alpha / typical
    found = weights / size * (a + b) * scale
    return Scaled(found, 1e4 * float(alpha.sum()) * scale, errors * scale)


@dataclass(frozen=True)
class Affine:
    """Log cost on the target as a line in the proxy's.

    Attributes:
        slope: Above 0, so that order is kept.
        offset: Added.
        left_out: `(k,)`, truth minus prediction, each by a fit without that row.
    """

    slope: float
    offset: float
    left_out: Matrix

    def __call__(self, log_proxy: Matrix) -> Matrix:
        """`(n,)` log costs on the target."""
        return self.slope * log_proxy + self.offset


def affine(log_proxy: Matrix, log_target: Matrix) -> Affine:
    """The line through few pairs; with fewer than four, or a falling line, only the offset is fitted."""
    k = len(log_proxy)
    x, y = log_proxy - log_proxy.mean(), log_target - log_target.mean()
    square = float(x @ x)
    slope = float(x @ y) / square if k >= 4 and square > 1e-12 else 1.0
    if slope <= 0:
        slope = 1.0
    free = k >= 4 and square > 1e-12
    leverage = 1 / k + (x**2 / square if free else 0.0)
    left_out = (y - slope * x) / np.maximum(1 - leverage, 1e-3)
    return Affine(slope, float(log_target.mean() - slope * log_proxy.mean()), np.atleast_1d(left_out))
