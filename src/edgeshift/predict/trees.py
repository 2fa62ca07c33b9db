# SPDX-License-Identifier: Apache-2.0
"""Regressors that several predictors share: non-negative least squares, forests, cross-fitted errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import NotInstalled
from edgeshift.predict.nonnegative import nonnegative

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
    # Columns of equal size. 1e-9: twin columns share, and fewer rows than columns still have one answer.
    scaled = x / y[:, None]
    size = np.maximum(np.sqrt((scaled**2).sum(axis=0)), 1e-300)
    scaled = scaled / size
    gram = scaled.T @ scaled
    gram[np.diag_indices_from(gram)] += 1e-9
    # Not scipy's nnls: 1.17 writes past its arrays where columns outnumber rows.
    found: Array = nonnegative(gram, scaled.sum(axis=0), rounds=20 * len(size)) / size
    return found


def forest(trees: int, seed: int, leaf: int = 1) -> Fit:
    """Extremely randomised trees (Geurts et al., Machine Learning 2006), one thread."""

    def fit(x: Array, y: Array) -> Callable[[Array], Array]:
        ensemble = needed("sklearn.ensemble", "scikit-learn")
        model = ensemble.ExtraTreesRegressor(trees, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(
            x, y
        )
        return Forest.of([tree.tree_ for tree in model.estimators_])

    return fit


@dataclass(frozen=True)
class Forest:
    """Regression trees as arrays, all trees in one row of nodes.

    scikit-learn calls every tree through Python, 1 to 2 ms for one query; a step of these arrays moves all trees at
    once. The answers are the same: a query goes left if its value, rounded to float32, is at most the threshold.

    Attributes:
        roots: `(trees,)` places of the first nodes.
        column: `(nodes,)` what a node looks at; 0 in leaves.
        threshold: `(nodes,)`, infinite in leaves.
        left: `(nodes,)` places; a leaf's own in leaves.
        right: `(nodes,)` places.
        value: `(nodes,)` what a leaf says.
    """

    roots: NDArray[np.int64]
    column: NDArray[np.int64]
    threshold: Array
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Array

    @classmethod
    def of(cls, trees: Sequence[Any]) -> "Forest":
        """From scikit-learn's trees of one output."""
        sizes = [tree.node_count for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]])
        own = np.arange(sum(sizes))
        leaf = np.concatenate([tree.children_left < 0 for tree in trees])
        left, right = (
            np.where(
                leaf, own, np.concatenate([getattr(t, side) + r for t, r in zip(trees, roots, strict=True)])
            )
            for side in ("children_left", "children_right")
        )
        return cls(
            roots, np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
            np.where(leaf, np.inf, np.concatenate([tree.threshold for tree in trees])), left, right,
            np.concatenate([tree.value[:, 0, 0] for tree in trees]),
        )  # fmt: skip

    def __call__(self, queries: Array) -> Array:
        """`(n,)` means over the trees of queries `(n, d)`."""
        x = np.asarray(queries, np.float32).astype(np.float64)
        found = np.empty(len(x))
        # 200,000 walkers at once stay in the cache of a core.
        block = max(1, 200_000 // len(self.roots))
        for start in range(0, len(x), block):
            found[start : start + block] = self._means(x[start : start + block])
        return found

    def _means(self, x: Array) -> Array:
        flat, first = x.ravel(), np.repeat(np.arange(len(x)) * x.shape[1], len(self.roots))
        at, walking = np.tile(self.roots, len(x)), np.arange(len(first))
        while len(walking):
            here = at[walking]
            goes_left = flat[first[walking] + self.column[here]] <= self.threshold[here]
            below = np.where(goes_left, self.left[here], self.right[here])
            at[walking] = below
            walking = walking[below != self.left[below]]
        means: Array = self.value[at].reshape(len(x), -1).mean(1)
        return means


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
