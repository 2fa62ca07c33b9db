# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from edgeshift.core.errors import UnknownName
from edgeshift.runtime.limits import (
    answered_by,
    clamped,
    inner_of,
    rung,
    sensors_of,
    settled,
    slowdown_of,
    trusted,
    under,
)
from edgeshift.runtime.policies.battery import Battery
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.thermal import Thermal
from edgeshift.runtime.state import Ladder, Profile, Reading, State

LADDER = Ladder(tuple(Profile(str(i), f"v{i}", 0.5 + i / 10, 1.0 + i, 1.0 + i) for i in range(4)))


@pytest.mark.parametrize(
    ("part", "index"), [(-1, 0), (0, 0), (0.3, 0), (0.34, 1), (0.99, 2), (1, 3), (9, 3), (math.nan, 0)]
)
def test_a_part_of_the_ladder_is_rounded_down(part: float, index: int) -> None:
    assert rung(part, LADDER) == index


@pytest.mark.parametrize(
    ("wanted", "active", "since", "chosen"),
    [(2, 1, 0.4, 1), (2, 1, 0.5, 2), (0, 1, 0.0, 0), (2, 1, math.nan, 1)],
)
def test_larger_only_after_the_dwell_smaller_at_once(
    wanted: int, active: int, since: float, chosen: int
) -> None:
    assert settled(wanted, active, since, 0.5) == chosen


def test_a_slowdown_that_is_old_is_taken_to_be_worse_and_fades() -> None:
    assert slowdown_of(State(0, 0, slowdown=2.0, slowdown_age_s=5.0), 1.5) == 2.0
    assert slowdown_of(State(0, 0, slowdown=2.0, slowdown_age_s=5.0001), 1.5) == pytest.approx(3.0, rel=1e-3)
    assert slowdown_of(State(0, 0, slowdown=9.0, slowdown_age_s=10.0), 1.5) == 7.5  # (1 + 8 / 2) x 1.5
    assert slowdown_of(State(0, 0, slowdown=9.0, slowdown_age_s=15.0), 1.5) == 4.5
    assert slowdown_of(State(0, 0, slowdown=9.0, slowdown_age_s=math.inf), 1.5) == 1.5
    assert slowdown_of(State(0, 0, slowdown=0.5), 1.5) == 1.5
    assert math.isnan(slowdown_of(State(0, 0, slowdown=-1.0), 1.5))


def test_a_reading_is_trusted_for_5_seconds_and_in_its_range() -> None:
    state = State(0, 0, sensors={"a": Reading(7.0, 5.0), "b": Reading(7.0, 5.1), "c": Reading(math.nan)})
    assert [trusted(state, name, 0, 10) for name in "abcd"] == [7.0, None, None, None]
    assert trusted(state, "a", 0, 6) is None


def test_below_a_cap_the_ladder_ends_there_and_the_active_with_it() -> None:
    seen, lower = under(1, State(0, 3), LADDER)
    assert (seen.active, len(lower)) == (1, 2)
    assert under(3, State(0, 3), LADDER)[1] is LADDER
    assert len(under(-5, State(0, 3), LADDER)[1]) == 1
    assert [clamped(i, LADDER) for i in (-1, 2, 9)] == [0, 2, 3]


def test_a_cap_names_itself_only_where_it_was_in_the_way() -> None:
    state = State(0, 0, deadline_s=1.0)
    assert answered_by(Fixed(variant=3), state, LADDER, 1, "heat").cause == "heat"
    assert answered_by(Fixed(variant=0), state, LADDER, 1, "heat").cause == "fixed"
    assert answered_by(Fixed(variant=0), state, LADDER, 1, "heat", (1.0,)).memory == (1.0,)


def test_caps_need_the_sensors_of_those_inside() -> None:
    assert sensors_of(Battery(inner=Thermal())) == ("battery", "temperature")
    assert inner_of("fixed") == Fixed()
    with pytest.raises(UnknownName, match="no policy named 'deadlin'; did you mean 'deadline'"):
        inner_of("deadlin")
