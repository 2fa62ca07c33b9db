# SPDX-License-Identifier: Apache-2.0
"""Counts of the server: seconds, late shares, switches by cause, and that nothing grows without bound."""

import pytest

from edgeshift.runtime.books import Event
from edgeshift.serve.counters import HISTORY, MOST_SERIES, Counters


def test_a_second_holds_its_own_answers() -> None:
    counters = Counters()
    for ms in range(1, 101):
        counters.answer("v", ms / 1000, 0, 0, late=ms > 98)
    counters.refuse("deadline")
    counters.refuse("bad_json")
    counters.end_second(1.0, "v")
    counters.end_second(2.0, "v")
    first, second = counters.history
    assert (first.rate, first.refused, first.late) == (100, 1, 2)
    assert (first.p50_ms, first.p95_ms, first.p99_ms) == pytest.approx((51, 96, 100))
    assert (second.rate, second.refused, second.p50_ms) == (0, 0, None)


def test_the_late_share_is_late_or_not_served_over_offered() -> None:
    counters = Counters()
    assert counters.late_share() is None
    for i in range(8):
        counters.answer("v", 0.1, 0, 0, late=i < 1)
    counters.refuse("queue_full")
    counters.refuse("busy")
    counters.end_second(1.0, "v")
    assert counters.late_share() == pytest.approx(3 / 10)


def test_history_has_an_end() -> None:
    counters = Counters()
    for i in range(HISTORY + 10):
        counters.end_second(float(i), "v")
    assert len(counters.history) == HISTORY
    assert counters.history[0].time_s == 10


def test_switches_are_counted_once_by_cause() -> None:
    counters = Counters()
    counters.see([Event(1, 0, "a", "b", "load", 0), Event(2, 0, "b", "b", "failed: c", 0)])
    counters.see([Event(3, 0, "a", "b", "load", 0)])
    assert counters.switched == {("a", "b", "load"): 2}
    assert counters.last_event == 3


def test_causes_without_end_share_one_series() -> None:
    counters = Counters()
    counters.see(Event(i, 0, "a", "b", f"cause {i}", 0) for i in range(MOST_SERIES + 50))
    assert len(counters.switched) == MOST_SERIES + 1
    assert counters.switched["", "", "other"] == 50
