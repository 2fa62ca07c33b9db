# SPDX-License-Identifier: Apache-2.0
"""Regressors that predictors share: forests as arrays, the Gaussian process, rates by class."""

import numpy as np
import pytest

from edgeshift.predict.layers import AT
from edgeshift.predict.network import KERNEL_COLUMNS, KINDS
from edgeshift.predict.rates import classes, grades, refined
from edgeshift.predict.smooth import process
from edgeshift.predict.trees import forest, relative_nnls


def test_a_forest_of_arrays_answers_as_scikit_learn_does() -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(0)
    x, queries = rng.normal(size=(60, 5)), rng.normal(size=(500, 5))
    y = x[:, 0] + rng.normal(size=60)
    theirs = ExtraTreesRegressor(20, random_state=3).fit(x, y)
    # 1e-12: sums of the same numbers in another order.
    assert np.allclose(forest(20, 3)(x, y)(queries), theirs.predict(queries), atol=1e-12)


def test_a_query_on_a_threshold_goes_left_as_float32() -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    x = np.array([[0.1], [0.2], [0.3], [0.7]])
    y = np.array([1.0, 2.0, 3.0, 4.0])
    theirs = ExtraTreesRegressor(30, random_state=0).fit(x, y)
    edges = np.concatenate([tree.tree_.threshold for tree in theirs.estimators_])
    queries = edges[edges > 0][:, None]
    assert np.allclose(forest(30, 0)(x, y)(queries), theirs.predict(queries), atol=1e-12)


def test_a_forest_of_one_point_says_it() -> None:
    assert forest(3, 0)(np.zeros((1, 2)), np.array([5.0]))(np.ones((4, 2))).tolist() == [5.0] * 4


def test_the_process_continues_a_line() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    found = process(x, 3 * x[:, 0] + 1)(np.array([[0.013], [1.2]]))
    # 0.02: the likeliest noise of the grid is a thousandth of the signal.
    assert found == pytest.approx([1.039, 4.6], abs=0.02)


def test_the_process_bends() -> None:
    x = np.linspace(-2, 2, 60)[:, None]
    found = process(x, np.sin(3 * x[:, 0]))(np.array([[0.5], [-0.81]]))
    assert found == pytest.approx(np.sin([1.5, -2.43]), abs=0.05)


def test_columns_without_spread_say_nothing() -> None:
    x, y = np.ones((5, 2)), np.arange(5.0)
    assert process(x, y)(np.zeros((3, 2))).tolist() == [2.0] * 3


def test_what_lies_far_outside_stays_bounded() -> None:
    x = np.random.default_rng(0).normal(size=(40, 1))
    guess = process(x, x[:, 0])
    assert guess(np.array([[1e9]]))[0] == guess(np.array([[1e6]]))[0]


def kernel(inputs: int, outputs: int, macs: float = 1e6) -> list[float]:
    """A 1x1 convolution's row."""
    row = dict.fromkeys(KERNEL_COLUMNS, 1.0)
    row |= {
        "kind": KINDS.index("conv_1x1"),
        "macs": macs,
        "in_channels": inputs,
        "out_channels": outputs,
        "bits": 32,
    }
    return [row[name] for name in KERNEL_COLUMNS]


@pytest.mark.parametrize(
    ("inputs", "outputs", "grade"), [(3, 16, 3), (8, 8, 2), (4, 12, 1), (16, 20, 1), (7, 16, 0), (16, 7, 0)]
)
def test_a_grade_counts_the_blocks_that_both_channels_fill(inputs: int, outputs: int, grade: int) -> None:
    assert grades(np.array([kernel(inputs, outputs)]), (4, 8, 16)).tolist() == [grade]


def test_without_blocks_all_kernels_of_a_kind_are_one_class() -> None:
    rows = np.array([kernel(8, 8), kernel(7, 9)])
    assert len(set(classes(rows, ()).tolist())) == 1
    assert len(set(classes(rows, (8,)).tolist())) == 2


def test_rates_find_the_block_that_a_runtime_wants() -> None:
    rng = np.random.default_rng(0)
    widths = rng.integers(5, 65, size=(200, 2))
    rows = np.array([kernel(int(a), int(b), rng.uniform(1e6, 5e6)) for a, b in widths])
    # Channels that fill blocks of eight run at four times the rate.
    full = (widths % 8 == 0).all(1)
    ms = rows[:, AT["macs"]] * np.where(full, 1e-6, 4e-6)
    found = refined(rows, np.arange(200), ms)
    assert (found.step, found.blocks) == (1, (8,))
    # 1e-6: the ridge on the diagonal.
    assert found(rows) == pytest.approx(ms, rel=1e-6)


def test_more_columns_than_rows_still_have_weights() -> None:
    x = np.random.default_rng(0).random((5, 40))
    weights = relative_nnls(x, np.ones(5))
    assert (weights >= 0).all()
    assert x @ weights == pytest.approx(np.ones(5), abs=1e-3)
