# SPDX-License-Identifier: Apache-2.0
"""Which rows are worth a measurement, and what is found in rounds."""

from collections.abc import Mapping

import numpy as np

from edgeshift.predict.pareto import explore, front, possible, worth_measuring

ACCURACY = np.array([90.0, 88.0, 86.0, 84.0, 87.0])
COST = np.array([5.0, 4.0, 3.0, 2.0, 4.5])


def test_a_certain_front_is_measured_and_nothing_else() -> None:
    chosen = worth_measuring(ACCURACY, COST[None], 4, 10.0)
    assert sorted(chosen.tolist()) == sorted(front(ACCURACY, COST).tolist()) == [0, 1, 2, 3]


def test_what_is_measured_already_is_not_chosen_again() -> None:
    chosen = worth_measuring(ACCURACY, COST[None], 2, 10.0, np.array([0, 2]))
    assert sorted(chosen.tolist()) == [1, 3]


def test_no_more_is_chosen_than_there_is() -> None:
    assert len(worth_measuring(ACCURACY, COST[None], 9, 10.0, np.array([0]))) == 4


def test_rounds_learn_from_what_was_measured() -> None:
    # Row 1 looks free and row 4 dear; measuring row 1 shows the mistake, and the second round turns to row 4.
    truth = np.array([5.0, 6.0, 3.0, 2.0, 3.5])
    asked: list[set[int]] = []

    def tables(found: Mapping[int, float]) -> np.ndarray:
        asked.append(set(found))
        guess = np.array([5.0, 0.1, 3.0, 2.0, 9.0])
        if 1 in found:
            guess[4] = 3.5
        return guess[None]

    known = {0: 5.0, 2: 3.0, 3: 2.0}
    found = explore(ACCURACY, known, tables, lambda row: float(truth[row]), (1, 1), 10.0)
    assert asked == [{0, 2, 3}, {0, 1, 2, 3}]
    assert (found[1], found[4]) == (6.0, 3.5)
    assert len(known) == 3


def test_a_measured_cost_replaces_every_possible_one() -> None:
    seen: list[np.ndarray] = []

    def tables(found: Mapping[int, float]) -> np.ndarray:
        seen.append(np.tile(COST, (3, 1)))
        return seen[-1]

    found = explore(ACCURACY, {0: 1.0}, tables, lambda row: float(COST[row]), (1,), 10.0)
    # The most accurate row costs less than all others: no other row is on any front, one is measured all the same.
    assert found[0] == 1.0
    assert (seen[0][:, 0] == 5.0).all()
    assert len(found) == 2


def test_a_row_that_is_beaten_in_every_table_is_not_possible() -> None:
    # Row 4 (87 points) costs 4.5 in one table and 3.9 in the other; row 1 (88 points) costs 4 in both.
    tables = np.array([COST, [5.0, 4.0, 3.0, 2.0, 3.9]])
    assert possible(ACCURACY, COST[None]).tolist() == [0, 1, 2, 3]
    assert possible(ACCURACY, tables).tolist() == [0, 1, 2, 3, 4]


def test_every_row_of_every_front_is_possible() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.integers(0, 40, 300).astype(float)
    tables = np.exp(rng.normal(size=300) + 0.05 * rng.normal(size=(20, 300)))
    fronts = np.unique(np.concatenate([front(accuracy, cost) for cost in tables]))
    kept = possible(accuracy, tables)
    assert np.isin(fronts, kept).all()
    assert len(kept) < 150


def test_unlikely_rows_are_measured_when_nothing_else_is_left() -> None:
    assert sorted(worth_measuring(ACCURACY, COST[None], 5, 10.0).tolist()) == [0, 1, 2, 3, 4]
