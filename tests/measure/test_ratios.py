# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.measure.ratios import Curve, fit_clock, ratios_for

# Half of the cost takes 6 / f + 1 ms, all of it 10 / f + 2.
CURVE = Curve((0.5, 1.0), (6.0, 10.0), (1.0, 2.0))


def test_at_the_first_clock_the_whole_network_is_kept_by_default() -> None:
    assert ratios_for([1.0], CURVE) == (1.0,)


def test_the_share_is_where_the_latency_meets_the_target() -> None:
    # Target 12. At 0.8: 8.5 at half, 14.5 at all, so 0.5 + 0.5 * 3.5 / 6. At 0.6: 11 and 18.67: 0.5 + 0.5 * 1 / 7.67.
    assert ratios_for([1.0, 0.8, 0.6], CURVE) == pytest.approx(
        (1.0, 0.5 + 0.5 * 3.5 / 6, 0.5 + 0.5 / (23 / 3)), rel=1e-12
    )


def test_a_margin_aims_below_the_target_but_leaves_the_whole_network_to_the_first_clock() -> None:
    # Target 12, aim 9: at 0.8 half takes 8.5 and all 14.5, so 0.5 + 0.5 * 0.5 / 6.
    assert ratios_for([1.0, 0.8], CURVE, margin=0.25) == pytest.approx((1.0, 0.5 + 0.5 * 0.5 / 6), rel=1e-12)
    # A target that is given binds the first clock too: aim 9 there, 7 at half and 12 at all.
    assert ratios_for([1.0], CURVE, 12.0, 0.25) == pytest.approx((0.5 + 0.5 * 2 / 5,), rel=1e-12)
    with pytest.raises(BadValue, match="margin must be 0 to below 1"):
        ratios_for([1.0], CURVE, margin=1.0)


def test_a_target_above_all_keeps_all() -> None:
    assert ratios_for([1.0, 0.5], CURVE, 22.0) == (1.0, 1.0)


def test_a_share_of_what_was_measured_exactly_is_that_share() -> None:
    # 6 / 0.5 + 1 = 13.
    assert ratios_for([0.5], CURVE, 13.0) == (0.5,)


def test_without_fixed_parts_latency_goes_with_one_over_the_clock() -> None:
    curve = Curve((0.25, 1.0), (2.5, 10.0))
    assert ratios_for([1.0, 0.5, 0.25], curve) == pytest.approx((1.0, 0.5, 0.25), rel=1e-12)


def test_of_a_curve_that_is_not_rising_the_largest_share_counts() -> None:
    # 9 ms at 0.5, 7 at 0.75, 10 at 1: 8 ms is met up to 0.75 + 0.25 / 3.
    curve = Curve((0.5, 0.75, 1.0), (9.0, 7.0, 10.0))
    assert ratios_for([1.0], curve, 8.0) == pytest.approx((0.75 + 0.25 / 3,), rel=1e-12)


def test_a_target_that_no_size_meets_names_the_clock() -> None:
    with pytest.raises(BadValue, match=r"target_ms at clock 0.2 must be at least 31, .*got 12.0"):
        ratios_for([1.0, 0.2], CURVE)


@pytest.mark.parametrize("frequencies", [[], [0.5, 1.0], [1.0, 1.0], [1.2, 1.0], [1.0, 0.0]])
def test_clocks_fall_and_are_shares(frequencies: list[float]) -> None:
    with pytest.raises(BadValue, match="frequencies must be falling"):
        ratios_for(frequencies, CURVE)


@pytest.mark.parametrize("target", [0.0, -1.0, float("inf"), float("nan")])
def test_a_target_is_a_time(target: float) -> None:
    with pytest.raises(BadValue, match="target_ms must be a finite number above 0"):
        ratios_for([1.0], CURVE, target)


@pytest.mark.parametrize(
    ("shares", "moving", "fixed"),
    [
        ((1.0,), (1.0,), ()),
        ((1.0, 0.5), (1.0, 2.0), ()),
        ((0.5, 1.1), (1.0, 2.0), ()),
        ((0.5, 1.0), (1.0,), ()),
        ((0.5, 1.0), (1.0, 2.0), (0.1,)),
        ((0.5, 1.0), (0.0, 2.0), ()),
        ((0.5, 1.0), (1.0, 2.0), (0.0, -1.0)),
    ],
)
def test_a_curve_is_checked(
    shares: tuple[float, ...], moving: tuple[float, ...], fixed: tuple[float, ...]
) -> None:
    with pytest.raises(BadValue):
        Curve(shares, moving, fixed).check()


def test_two_clocks_give_a_and_b() -> None:
    # 10 + 2 at 1, 20 + 2 at 0.5.
    assert fit_clock([1.0, 0.5], [12.0, 22.0]) == pytest.approx((10.0, 2.0), rel=1e-12)


def test_three_clocks_give_the_nearest_line() -> None:
    # 1 / f = 1, 2, 4 about 7/3, latencies about 8/3: slope (20 - 1 + 20) / (16 + 1 + 25).
    a, b = fit_clock([1.0, 0.5, 0.25], [1.0, 3.0, 4.0])
    assert (a, b) == pytest.approx((13 / 14, 8 / 3 - 13 / 14 * 7 / 3), rel=1e-12)


def test_no_part_is_below_zero() -> None:
    # Falls with the clock: all fixed. Above proportional: all moving, 1 * 1 + 2 * 3 over 1 + 4.
    assert fit_clock([1.0, 0.5], [3.0, 2.0]) == (0.0, 2.5)
    assert fit_clock([1.0, 0.5], [1.0, 3.0]) == pytest.approx((1.4, 0.0), rel=1e-12)


@pytest.mark.parametrize(
    ("clocks", "times"),
    [([1.0, 1.0], [1.0, 2.0]), ([1.0], [1.0]), ([1.0, 0.5], [1.0]), ([1.0, 0.5], [1.0, 0.0])],
)
def test_a_fit_needs_two_clocks_and_times(clocks: list[float], times: list[float]) -> None:
    with pytest.raises(BadValue):
        fit_clock(clocks, times)
