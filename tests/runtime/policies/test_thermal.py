# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.thermal import Thermal
from edgeshift.runtime.state import Decision, Ladder, Profile, Reading, State

LADDER = Ladder(tuple(Profile(str(i), f"v{i}", 0.5 + i / 10, 1.0 + i, 1.0 + i) for i in range(4)))


def at(celsius: float, now_s: float = 0.0, memory: tuple[float, ...] = ()) -> Decision:
    """What it decides at that temperature."""
    state = State(now_s, 0, sensors={"temperature": Reading(celsius)}, memory=memory)
    return Thermal(inner=Fixed(variant=-1)).choose(state, LADDER)


@pytest.mark.parametrize(("celsius", "index"), [(20, 3), (65, 3), (66, 2), (71, 1), (76, 0), (90, 0)])
def test_the_cap_falls_between_warm_and_hot(celsius: float, index: int) -> None:
    assert at(celsius).variant == index


def test_a_rise_is_drawn_out_and_capped_before_it_is_hot() -> None:
    first = at(60.0)
    # 2 K in 1 s count for half: 1 K/s, in 10 s 72 degrees.
    second = at(62.0, 1.0, first.memory)
    assert second.memory == (1.0, 62.0, 1.0)
    assert (first.variant, second.variant) == (3, 1)


def test_after_a_pause_the_slope_is_history() -> None:
    assert at(62.0, 100.0, (0.0, 20.0, 5.0)).memory == (100.0, 62.0, 0.0)


def test_a_fall_lifts_no_cap() -> None:
    assert at(70.0, 1.0, (0.0, 78.0, -4.0)).variant == at(70.0).variant


def test_limits_that_cross_are_refused() -> None:
    with pytest.raises(BadValue, match="warm_c and hot_c must be the first below the second"):
        Thermal(warm_c=80, hot_c=70)
