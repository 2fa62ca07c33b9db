# SPDX-License-Identifier: Apache-2.0
"""Regressors that several predictors share: non-negative least squares, forests, cross-fitted errors."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import NotInstalled

Array = NDArray[np.float64]
Fit = Callable[[Array, Array], Callable[[Array], Array]]


def needed(module: str, package: str) -> Any:
    """A module of the derive extra.

    Raises:
        NotInstalled: If it is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise NotInstalled(package, "derive") from error


def relative_nnls(x: Array, y: Array) -> Array:
    """`(d,)` weights from 0 that make `x @ w` close to `y` in relative error.

    Args:
        x: `(n, d)`, from 0.
        y: `(n,)`, above 0.
    """
    optimize = needed("scipy.optimize", "scipy")
    # Columns of equal size: the solver's tolerance is absolute.
    scaled = x / y[:, None]
    size = np.maximum(np.abs(scaled).max(axis=0), 1e-300)
    weights, _ = optimize.nnls(scaled / size, np.ones(len(y)), maxiter=50 * x.shape[1])
    return np.asarray(weights / size, np.float64)


def forest(trees: int, seed: int, leaf: int = 1) -> Fit:
    """Extremely randomised trees (Geurts et al., Machine Learning 2006), one thread."""

    def fit(x: Array, y: Array) -> Callable[[Array], Array]:
        ensemble = needed("sklearn.ensemble", "scikit-learn")
        model = ensemble.ExtraTreesRegressor(trees, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(
            x, y
        )
        return lambda queries: np.asarray(model.predict(queries), np.float64)

    return fit


def ridge(x: Array, y: Array) -> Callable[[Array], Array]:
    """Ridge regression on standardised columns, its strength chosen by exact leave-one-out error."""
    middle, size = x.mean(axis=0), x.std(axis=0)
    size = np.where(size > 0, size, 1.0)
    u, s, v = np.linalg.svd((x - middle) / size, full_matrices=False)
    gap = y - y.mean()
    best, chosen = np.inf, 1.0
    for strength in 10.0 ** np.arange(-3, 4):
        shrink = s**2 / (s**2 + strength)
        left = 1 - (u**2 * shrink).sum(axis=1) - 1 / len(y)
        error = float(np.mean(np.square((gap - u @ (shrink * (u.T @ gap))) / np.maximum(left, 1e-6))))
        if error < best:
            best, chosen = error, strength
    weights = v.T @ (s / (s**2 + chosen) * (u.T @ gap))
    return lambda queries: np.asarray((queries - middle) / size @ weights + y.mean(), np.float64)


def both(first: Fit, second: Fit) -> Fit:
    """The mean of two regressors."""

    def fit(x: Array, y: Array) -> Callable[[Array], Array]:
        one, other = first(x, y), second(x, y)
        return lambda queries: (one(queries) + other(queries)) / 2

    return fit


def held_out(fit: Fit, x: Array, y: Array, seed: int, folds: int = 5) -> Array:
    """`(n,)` truth minus the prediction of a model that did not see the point."""
    found = np.empty(len(y))
    for part in np.array_split(np.random.default_rng(seed).permutation(len(y)), min(folds, len(y))):
        rest = np.setdiff1d(np.arange(len(y)), part)
        found[part] = y[part] - fit(x[rest], y[rest])(x[part])
    return found
