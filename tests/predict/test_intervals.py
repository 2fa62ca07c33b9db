# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import Prior, conformal, coverage, interval, normal, of_groups, student


def test_nine_residuals_at_nine_tenths_give_their_largest() -> None:
    assert conformal(np.array([1.0, -9, 2, 3, -4, 5, 6, 7, 8]), 0.9) == 9


def test_nineteen_residuals_at_nine_tenths_give_the_eighteenth() -> None:
    assert conformal(np.arange(1.0, 20), 0.9) == 18


def test_the_sign_of_a_residual_does_not_matter() -> None:
    assert conformal(-np.arange(1.0, 20), 0.9) == 18


def test_nine_groups_at_nine_tenths_give_the_largest_residual() -> None:
    assert of_groups([np.array([float(i)]) for i in (1, -9, 2, 3, 4, 5, 6, 7, 8)], 0.9) == 9


@pytest.mark.parametrize("groups", [0, 1, 8])
def test_fewer_than_nine_groups_promise_nothing_at_nine_tenths(groups: int) -> None:
    assert of_groups([np.ones(50)] * groups, 0.9) == math.inf


def test_a_group_of_many_residuals_has_no_more_say() -> None:
    # Each of two groups has a third: the four ones reach 1/3, the ten 2/3.
    assert of_groups([np.array([1.0, 1, 1, 1]), np.array([10.0])], 0.5) == 10


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(BadValue, match="residuals must be at least one, finite"):
        of_groups([np.zeros(0)])


def test_few_residuals_give_the_t_half_width() -> None:
    # Two residuals of size 1: t with 2 degrees of freedom at 0.9 is 2.91999, times sqrt(1 + 1/2).
    assert conformal(np.array([1.0, -1]), 0.9) == pytest.approx(2.91999 * math.sqrt(1.5), rel=1e-4)


# Tables of the t-distribution, two-sided 0.9; the series is short of 1e-2 from three degrees on.
@pytest.mark.parametrize(("freedom", "want"), [(1, 6.3138), (2, 2.9200), (5, 2.0150), (10, 1.8125)])
def test_student_agrees_with_the_printed_tables(freedom: int, want: float) -> None:
    assert student(freedom, 0.9) == pytest.approx(want, abs=1e-2)


def test_the_normal_half_width_at_nine_tenths_is_the_textbooks() -> None:
    assert normal(0.9) == pytest.approx(1.6448536, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 1.0, math.nan])
def test_a_level_outside_0_to_1_is_refused(level: float) -> None:
    with pytest.raises(BadValue, match="level must be between 0 and 1"):
        conformal(np.ones(3), level)


def test_no_residual_is_refused() -> None:
    with pytest.raises(BadValue, match="at least one, finite"):
        conformal(np.array([]))


@settings(deadline=None, max_examples=20)
@given(st.integers(9, 60), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_next_residual_is_inside_at_least_as_often_as_promised(n: int, level: float) -> None:
    draws = np.abs(np.random.default_rng(n).normal(size=(4000, n + 1)))
    inside = [conformal(row[:n], level) >= row[n] for row in draws]
    # Three standard errors of a share of 4000.
    assert np.mean(inside) >= level - 3 * math.sqrt(level * (1 - level) / 4000)


def test_without_a_measurement_the_other_devices_speak() -> None:
    assert Prior(0.2, 5).half_width(np.array([]), 0.9) == pytest.approx(0.2 * 1.6448536)


def test_many_measurements_outweigh_the_other_devices() -> None:
    assert Prior(0.2, 5).half_width(np.full(5000, 0.1), 0.9) == pytest.approx(0.16448536, rel=2e-3)


def test_the_shape_of_the_other_devices_errors_is_used() -> None:
    assert Prior(0.1, 1, ((0.8, 1.0), (0.9, 3.0))).half_width(np.array([0.1]), 0.9) == pytest.approx(0.3)


def test_an_interval_is_a_factor_either_way() -> None:
    found = interval(np.log([8.0]), math.log(2), 0.9, "x")
    assert (found.low[0], found.value[0], found.high[0]) == pytest.approx((4, 8, 16))


def test_coverage_counts_what_was_measured() -> None:
    found = interval(np.log([8.0, 8, 8]), math.log(2), 0.9, "x")
    assert coverage(found, np.array([5.0, 17, np.nan])) == 0.5
