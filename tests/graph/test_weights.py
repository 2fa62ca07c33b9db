# SPDX-License-Identifier: Apache-2.0
"""Rows and columns of a weight that meet, worked out by hand and against the plain definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.graph.weights import broken_columns, columns_met, finite, nonzero, scan

ALL = np.ones(3, np.bool_)
W = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 5.0]], np.float32)


def test_a_row_whose_sum_cancels_is_still_met() -> None:
    seen = scan(W, ALL)
    assert seen.rows.tolist() == [True, False, True]
    assert seen.finite


def test_only_the_asked_columns_count() -> None:
    seen = scan(W, np.array([True, True, False]))
    assert seen.rows.tolist() == [True, False, False]


def test_minus_zero_is_zero_and_the_smallest_number_is_not() -> None:
    w = np.array([[[0.0, 1e-42], [0.0, -0.0]], [[0.0, 0.0], [0.0, -0.0]]], np.float32)
    assert scan(w, ALL[:2]).rows.tolist() == [True, False]
    assert scan(w, np.array([False, True])).rows.tolist() == [False, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponents_that_only_look_infinite_together_are_finite(dtype: type) -> None:
    # 1.5 has all bits of the exponent but the highest, 2 only the highest
    w = np.array([[1.5, 2.0], [1.5, 0.0], [-2.0, 0.0]], dtype)
    assert scan(w, ALL[:2]).rows.tolist() == [True, True, True]
    assert scan(w, ALL[:2]).finite
    assert finite(w)
    w[0, 1] = -np.inf
    assert scan(w, np.array([False, False])).rows.tolist() == [True, False, False]
    assert not finite(w)


def test_the_largest_numbers_are_finite_though_their_sum_is_not() -> None:
    w = np.full((2, 3), np.finfo(np.float32).max)
    assert scan(w, ALL).finite
    assert finite(w)


def test_a_row_that_meets_only_a_late_column_is_found() -> None:
    w = np.zeros((3, 50), np.float32)
    w[1, 49] = 1
    w[2, 0] = 1
    columns = np.ones(50, np.bool_)
    columns[0] = False
    assert scan(w, columns).rows.tolist() == [False, True, False]


def test_a_number_that_is_not_finite_is_met_even_where_nobody_asks() -> None:
    w = np.array([[0.0, np.nan], [0.0, np.inf], [0.0, 1.0]], np.float32)
    seen = scan(w, np.array([True, False]))
    assert seen.rows.tolist() == [True, True, False]
    assert not seen.finite


def test_a_column_is_met_by_the_asked_rows_only() -> None:
    assert columns_met(W, np.array([True, True, False])).tolist() == [True, True, False]
    assert columns_met(W, ALL, np.array([False, False, True])).tolist() == [False, False, True]


def test_a_column_that_only_a_late_row_meets_is_found() -> None:
    w = np.zeros((50, 2, 3), np.float32)
    w[49, 1, 2] = 1e-42  # denormal
    assert columns_met(w, np.ones(50, np.bool_)).tolist() == [False, True]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0, 2), (2, 3, 0)])
def test_a_weight_without_numbers_meets_nothing(shape: tuple[int, ...]) -> None:
    w = np.zeros(shape, np.float32)
    assert not scan(w, np.ones(shape[1], np.bool_)).rows.any()
    assert columns_met(w, np.ones(shape[0], np.bool_)).tolist() == [False] * shape[1]
    assert not nonzero(w).any()
    assert finite(w)


def test_what_is_not_finite_is_seen() -> None:
    assert finite(W)
    assert not finite(np.array([1.0, np.nan]))
    assert not finite(np.array([[np.inf, -np.inf]]))
    assert broken_columns(np.array([[1.0, np.inf], [np.nan, 1.0]]), np.array([True, False])).tolist() == [
        False,
        True,
    ]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.floats(0, 1))
def test_the_quick_answers_are_the_plain_ones(
    seed: int, rows: int, columns: int, taps: int, share: float
) -> None:
    draw = np.random.default_rng(seed)
    w = draw.integers(-2, 3, (rows, columns, taps)).astype(np.float32)
    w[draw.random(w.shape) < share] = 0
    some_rows, some_columns = draw.random(rows) < 0.5, draw.random(columns) < 0.5
    seen = scan(w, some_columns)
    assert seen.rows.tolist() == (w[:, some_columns] != 0).any((1, 2)).tolist()
    assert seen.finite
    assert columns_met(w, some_rows).tolist() == (w[some_rows] != 0).any((0, 2)).tolist()
    assert nonzero(w).tolist() == (w != 0).any(2).tolist()
