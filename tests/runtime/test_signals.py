# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from edgeshift.runtime.signals import Rate, Recent, Slowdown


def test_the_rate_of_steady_arrivals_is_their_rate() -> None:
    rate = Rate(window_s=1.0)
    for number in range(1000):
        rate.arrived(number / 100)
    # A sum of exponentials: 1 / (1 - e^-0.01) = 100.5 right after an arrival.
    assert rate.at(9.99) == pytest.approx(1 / (1 - math.exp(-0.01)), rel=1e-3)
    assert rate.at(10.99) == pytest.approx(rate.at(9.99) / math.e)


def test_no_arrival_no_rate() -> None:
    assert Rate().at(5.0) == 0.0


def test_a_clock_that_runs_back_does_not_raise_the_rate() -> None:
    rate = Rate()
    rate.arrived(10.0)
    assert rate.at(5.0) == rate.at(10.0) == 1.0


def test_the_slowdown_is_smoothed_by_its_weight() -> None:
    slowdown = Slowdown(weight=0.3)
    assert (slowdown.value, slowdown.age_s(7.0)) == (1.0, math.inf)
    slowdown.served(1.0, 0.02, 0.01)
    assert slowdown.value == 2.0
    slowdown.served(2.0, 0.01, 0.01)
    assert slowdown.value == pytest.approx(1.7)
    assert slowdown.age_s(5.0) == 3.0


def test_the_p95_is_that_of_the_last_answers() -> None:
    recent = Recent(size=20)
    assert math.isnan(recent.p95_s)
    for number in range(1, 41):
        recent.answered(number / 1000)
    # Of 21 to 40 ms the 19th.
    assert recent.p95_s == 0.039
