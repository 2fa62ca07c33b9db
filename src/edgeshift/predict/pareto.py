# SPDX-License-Identifier: Apache-2.0
"""Fronts of accuracy against cost: who is on them, who probably is, and what a missed member costs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.features import Matrix

Rows = NDArray[np.int64]
# Rows that are on some possible front; beyond these a row is on fewer than one in a hundred.
CANDIDATES = 400
# Points of accuracy that a certain front member is worth by itself.
PROBABLE = 0.02


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


def possible(accuracy: Matrix, tables: Matrix) -> Rows:
    """Rows that may be on some table's front: no row as accurate is cheaper in every table than they are in any."""
    low, high = tables.min(0), tables.max(0)
    order = np.argsort(-accuracy, kind="stable")
    cheapest = np.minimum.accumulate(high[order])
    found: Rows = np.sort(order[low[order] <= cheapest])
    return found


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


def worth_measuring(
    accuracy: Matrix, tables: Matrix, count: int, within: float, before: Rows | None = None
) -> Rows:
    """Rows whose measurement together loses least accuracy over all budgets and all possible tables.

    Greedy: at every budget of every table's own front, the best measured row that fits is used; the next row
    is the one that raises the mean of those accuracies most, a probable front member before another.

    Args:
        accuracy: `(n,)`, in points.
        tables: `(s, n)` possible costs.
        count: Rows to choose.
        within: Budgets whose optimum is further below the best accuracy do not count.
        before: Rows that are measured already: they count, and are not chosen again.
    """
    had = np.zeros(0, np.int64) if before is None else np.asarray(before, np.int64)
    # Most rows are beaten in every table: what is left is small enough for hundreds of tables.
    kept = np.union1d(possible(accuracy, tables), had)
    if len(kept) < len(had) + count:
        kept = np.arange(len(accuracy))
    floor, least = float(accuracy.min()), float(accuracy.max()) - within
    accuracy, tables, had = accuracy[kept], tables[:, kept], np.searchsorted(kept, had)
    fronts = [front(accuracy, cost) for cost in tables]
    share = np.bincount(np.concatenate(fronts), minlength=len(kept)) / len(tables)
    share[had] = -1.0
    few = np.concatenate([had, np.argsort(-share, kind="stable")[: min(CANDIDATES, len(share) - len(had))]])
    gains, weights = [], []
    for cost, rows in zip(tables, fronts, strict=True):
        budgets = rows[accuracy[rows] >= least]
        fits = cost[few][None] <= cost[budgets][:, None]
        gains.append(np.where(fits, accuracy[few][None], floor))
        weights.append(np.full(len(budgets), 1 / len(budgets) / len(tables)))
    reach, weight = np.concatenate(gains), np.concatenate(weights)
    best = reach[:, : len(had)].max(1, initial=floor)
    chosen: list[int] = []
    for _ in range(min(count, len(few) - len(had))):
        gain = weight @ np.maximum(reach - best[:, None], 0) + PROBABLE * share[few]
        gain[: len(had)] = -1.0
        gain[chosen] = -1.0
        chosen.append(int(np.argmax(gain)))
        best = np.maximum(best, reach[:, chosen[-1]])
    found: Rows = kept[few[chosen]]
    return found


def explore(
    accuracy: Matrix,
    known: Mapping[int, float],
    tables: Callable[[Mapping[int, float]], Matrix],
    measure: Callable[[int], float],
    counts: Sequence[int],
    within: float,
) -> dict[int, float]:
    """Measure a front's rows in rounds, each chosen with what the rounds before it have shown.

    Args:
        accuracy: `(n,)`, in points.
        known: Row -> cost, measured already.
        tables: From all costs measured so far to `(s, n)` possible costs.
        measure: Row -> its cost.
        counts: Rows to measure in each round.
        within: See `worth_measuring`.

    Returns:
        Row -> cost, of all that were measured.
    """
    found = dict(known)
    for count in counts:
        possible = np.array(tables(found))
        rows = np.array(sorted(found), np.int64)
        # What was measured is no longer a guess.
        possible[:, rows] = [found[row] for row in rows.tolist()]
        for row in worth_measuring(accuracy, possible, count, within, rows).tolist():
            found[row] = measure(row)
    return found
