# SPDX-License-Identifier: Apache-2.0
"""How long a variant that failed is kept away."""

import time

import pytest

from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine
from edgeshift.runtime.quarantine import FIRST_S, LAST_S, Quarantine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that a quarantine sees; tests set it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def away_s(cases: Quarantine, identity: str, now: float) -> float:
    return cases._cases[identity].until_s - now


def test_each_failure_doubles_the_time_up_to_five_minutes(three: Portfolio, clock: list[float]) -> None:
    with Engine(three.path) as engine:
        cases, ready = Quarantine(engine, lambda text: None), engine.ready(1)
        cases._mender = cases  # type: ignore[assignment]  # nobody opens it again meanwhile
        found = []
        for _ in range(11):
            cases.add(ready, "raised")
            found.append(away_s(cases, ready.profile.id, clock[0]))
    assert found == [FIRST_S * 2**n for n in range(9)] + [LAST_S, LAST_S]


def test_after_five_quiet_minutes_a_failure_is_the_first_again(three: Portfolio, clock: list[float]) -> None:
    with Engine(three.path) as engine:
        cases, ready = Quarantine(engine, lambda text: None), engine.ready(1)
        cases._mender = cases  # type: ignore[assignment]
        for _ in range(3):
            cases.add(ready, "raised")
        clock[0] += 4 + LAST_S - 1
        cases.add(ready, "raised")
        assert away_s(cases, ready.profile.id, clock[0]) == 8
        clock[0] += 8 + LAST_S + 1
        cases.add(ready, "raised")
        assert away_s(cases, ready.profile.id, clock[0]) == FIRST_S
