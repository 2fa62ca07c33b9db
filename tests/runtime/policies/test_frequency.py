# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.frequency import Frequency
from edgeshift.runtime.state import Decision, Ladder, Profile, Reading, State

LADDER = Ladder(
    (
        Profile("0", "small", 0.5, 10.0, 10.0, fixed_ms=5.0),
        Profile("1", "middle", 0.7, 20.0, 20.0, fixed_ms=10.0),
        Profile("2", "large", 0.9, 40.0, 40.0, fixed_ms=20.0),
    )
)


def at(share: float | None, memory: tuple[float, ...] = (), slowdown: float = 1.0) -> Decision:
    """What it decides at that clock."""
    sensors = {} if share is None else {"cpufreq": Reading(share)}
    state = State(0, 0, slowdown=slowdown, slowdown_age_s=0.0, sensors=sensors, memory=memory)
    return Frequency(inner=Fixed(variant=-1), target_ms=50.0).choose(state, LADDER)


@pytest.mark.parametrize(("share", "index"), [(1.0, 2), (0.7, 2), (0.66, 1), (0.26, 1), (0.24, 0), (0.1, 0)])
def test_the_largest_under_the_target_at_the_clock(share: float, index: int) -> None:
    # 20 / f + 20 <= 50 from f = 0.667 on; 10 / f + 10 <= 50 from f = 0.25 on.
    assert at(share).variant == index


@pytest.mark.parametrize(("slowdown", "index"), [(1.2, 2), (1.3, 1), (2.6, 0)])
def test_without_a_clock_the_own_slowdown_stands_for_it(slowdown: float, index: int) -> None:
    assert at(None, slowdown=slowdown).variant == index


def test_a_share_that_does_not_stretch_is_learned() -> None:
    memory: tuple[float, ...] = ()
    for _ in range(30):
        for share in (1.0, 0.8, 0.5):
            # Truly 0.1 / f + 0.9: memory-bound.
            memory = at(share, memory, slowdown=0.1 / share + 0.9).memory
    # 40 * (0.1 / 0.4 + 0.9) = 46 ms, where the profile says 20 / 0.4 + 20 = 70.
    assert (at(0.4).variant, at(0.4, memory).variant) == (1, 2)
