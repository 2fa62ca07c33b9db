# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.network import Network
from edgeshift.runtime.state import Decision, Ladder, Profile, Reading, State

LADDER = Ladder((Profile("0", "v", 0.9, 10.0, 10.0),))


def at(kbit_s: float, deadline_s: float, now_s: float = 0.0, memory: tuple[float, ...] = ()) -> Decision:
    """What it decides after an upload at that throughput."""
    state = State(
        now_s,
        0,
        deadline_s=deadline_s,
        slowdown_age_s=0.0,
        sensors={"upload": Reading(kbit_s)},
        memory=memory,
    )
    return Network(inner=Fixed()).choose(state, LADDER)


def test_the_upload_comes_off_the_deadline() -> None:
    # 24 kbit at 1200 kbit/s = 20 ms; the answer takes 10.
    assert (at(1200, 0.031).admit, at(1200, 0.029).admit) == (True, False)


def test_the_harmonic_mean_of_the_last_five_counts() -> None:
    memory: tuple[float, ...] = ()
    for second, kbit_s in enumerate([9999.0, 400.0, 400.0, 400.0, 400.0, 200.0]):
        memory = at(kbit_s, 1.0, float(second), memory).memory
    assert memory == (5.0, 5.0, 400.0, 400.0, 400.0, 400.0, 200.0)
    # 5 / (4 / 400 + 1 / 200) = 333 kbit/s: 72 ms.
    assert (at(200, 0.083, 5.0, memory).admit, at(200, 0.081, 5.0, memory).admit) == (True, False)


def test_a_reading_that_was_seen_counts_once() -> None:
    first = at(500, 1.0, 3.0)
    assert at(500, 1.0, 3.0, first.memory).memory == first.memory == (1.0, 3.0, 500.0)


def test_an_unknown_upload_forgets() -> None:
    state = State(0, 0, deadline_s=1.0, slowdown_age_s=0.0, memory=(1.0, 3.0, 500.0))
    assert Network().choose(state, LADDER).memory[:2] == pytest.approx((0.0, 0.0))
