# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.plan.margin import best_guarded, deviation, front_first, guarded, holds, verify
from edgeshift.predict.intervals import interval, normal
from edgeshift.predict.samples import Prediction


def guess(values: list[float], sigma: float) -> Prediction:
    """Predictions whose log error has that deviation."""
    return interval(np.log(values), normal(0.9) * sigma, 0.9, "made")


def measured(values: list[float]) -> Prediction:
    array = np.array(values)
    return Prediction(array, array, array, kind="measured")


def test_the_interval_gives_the_deviation_back() -> None:
    assert deviation(guess([1.0, 50.0], 0.2)) == pytest.approx([0.2, 0.2])


def test_a_prediction_at_the_limit_holds_half_of_the_time() -> None:
    assert holds(guess([10.0], 0.1), 10.0) == pytest.approx([0.5], abs=1e-7)


def test_one_deviation_below_the_limit_holds_in_84_of_100_cases() -> None:
    assert holds(guess([10 / np.exp(0.1)], 0.1), 10.0) == pytest.approx([0.8413447], abs=1e-6)


def test_a_measurement_holds_or_does_not() -> None:
    assert holds(measured([1.0, 2.0, 3.0]), 2.0).tolist() == [1.0, 1.0, 0.0]


def test_the_margin_is_the_stated_number_of_deviations() -> None:
    assert guarded(guess([10.0], 0.1), 1.3) == pytest.approx([10 * np.exp(0.13)])
    assert guarded(measured([10.0]), 1.3) == pytest.approx([10.0])


def test_without_measurements_the_best_inside_the_margin_is_chosen() -> None:
    gains, prediction = np.array([0.9, 0.8, 0.7]), guess([10.0, 9.0, 5.0], 0.1)
    assert best_guarded(gains, prediction, 10.0) == 2  # 9 * e^0.13 is 10.2
    assert best_guarded(gains, prediction, 10.3) == 1
    assert best_guarded(gains, prediction, 1.0) == 2  # nothing fits: the nearest


def test_verifying_returns_the_best_that_was_measured_inside() -> None:
    truth = [12.0, 9.5, 5.0]
    found = verify(np.array([0.9, 0.8, 0.7]), guess([9.0, 9.0, 5.0], 0.2), 10.0, truth.__getitem__, 3)
    assert (found.place, found.met, found.measured[found.place]) == (1, True, 9.5)


def test_a_design_that_is_known_is_not_measured_again() -> None:
    asked: list[int] = []

    def measure(i: int) -> float:
        asked.append(i)
        return 20.0

    found = verify(np.array([0.9, 0.8, 0.7]), guess([9.0, 9.0, 5.0], 0.2), 10.0, measure, 4, {2: 5.0})
    assert sorted(asked) == [0, 1]
    assert (found.place, found.met) == (2, True)


def test_measuring_stops_when_nothing_better_can_be_found() -> None:
    found = verify(np.array([0.9, 0.8]), guess([5.0, 5.0], 0.1), 10.0, lambda i: 5.0, 4, {0: 5.0})
    assert (found.place, found.measured) == (0, {})


def test_a_limit_that_nothing_measured_keeps_is_said() -> None:
    found = verify(np.array([0.9, 0.8]), guess([9.0, 8.0], 0.2), 10.0, lambda i: 30.0 - i, 4)
    assert (found.place, found.met, len(found.measured)) == (1, False, 2)


def test_one_answer_moves_the_predictions_of_the_others() -> None:
    # Everything takes twice the predicted time: the first answer makes row 2 likelier than row 0.
    gains, prediction = np.array([0.9, 0.89, 0.5]), guess([9.0, 8.9, 3.0], 0.3)
    found = verify(gains, prediction, 10.0, [18.0, 17.8, 6.0].__getitem__, 2)
    assert (list(found.measured), found.place, found.met) == ([1, 2], 2, True)


def test_a_negative_number_of_measurements_is_refused() -> None:
    with pytest.raises(BadValue, match="verifying measurements must be 0 or more, got -1"):
        verify(np.array([0.9]), guess([9.0], 0.2), 10.0, lambda i: 1.0, -1)


def test_the_front_is_what_nothing_beats() -> None:
    gains, costs = np.array([0.5, 0.7, 0.6, 0.9, 0.7]), np.array([1.0, 2.0, 2.0, 4.0, 3.0])
    assert front_first(gains, costs).tolist() == [0, 1, 3]


def test_a_measurement_that_repeats_may_break_is_no_pick() -> None:
    gains, prediction = np.array([0.9, 0.8]), guess([9.9, 9.0], 0.01)
    costs = [9.9, 9.0]
    assert verify(gains, prediction, 10.0, lambda i: costs[i], 2).place == 0
    # 9.9 is one standard deviation of 1 % below 10; 1.645 of them are asked.
    assert verify(gains, prediction, 10.0, lambda i: costs[i], 2, repeat=0.01).place == 1


def test_a_repeat_below_nothing_is_refused() -> None:
    with pytest.raises(BadValue, match="0 or more"):
        verify(np.array([1.0]), guess([1.0], 0.1), 1.0, lambda i: 1.0, 1, repeat=-0.1)
