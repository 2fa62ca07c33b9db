# SPDX-License-Identifier: Apache-2.0
"""Fronts of accuracy against cost: who is on them, who probably is, and what a missed member costs."""

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.features import Matrix

Rows = NDArray[np.int64]


def front(accuracy: Matrix, cost: Matrix) -> Rows:
    """Rows that no other row beats in both accuracy and cost, cheapest first; of equals the first."""
    order = np.lexsort((np.arange(len(cost)), -accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    kept = np.concatenate([[True], accuracy[order][1:] > best[:-1]]) if len(order) else np.zeros(0, bool)
    found: Rows = order[kept]
    return found


def likely(accuracy: Matrix, tables: Matrix) -> Matrix:
    """`(n,)`: share of the tables `(s, n)` in which each row is on the front."""
    found = np.zeros(len(accuracy))
    for cost in tables:
        found[front(accuracy, cost)] += 1
    return found / len(tables)


def worthwhile(accuracy: Matrix, cost: Matrix, within: float) -> Rows:
    """The front's rows whose accuracy is at most `within` below the best."""
    rows = front(accuracy, cost)
    found: Rows = rows[accuracy[rows] >= accuracy.max() - within]
    return found


def recall(true: Rows, found: Rows) -> float:
    """Share of the true front's rows that were found, 0..1."""
    return float(np.isin(true, found).mean())


def regret(accuracy: Matrix, cost: Matrix, true: Rows, measured: Rows) -> Matrix:
    """Accuracy lost at the budget of each true front row when only the measured rows may be used.

    The budget is that row's own cost. If no measured row fits, the loss is to the worst network there is.
    """
    rows = measured[np.argsort(cost[measured], kind="stable")]
    best = np.maximum.accumulate(accuracy[rows])
    places = np.searchsorted(cost[rows], cost[true], side="right") - 1
    reached = np.where(places >= 0, best[np.maximum(places, 0)], accuracy.min())
    found: Matrix = np.maximum(accuracy[true] - reached, 0.0)
    return found
