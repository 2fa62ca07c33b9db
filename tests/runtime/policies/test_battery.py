# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.runtime.policies.battery import Battery
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.state import Ladder, Profile, Reading, State

LADDER = Ladder(tuple(Profile(str(i), f"v{i}", 0.5 + i / 10, 1.0 + i, 1.0 + i) for i in range(4)))


@pytest.mark.parametrize(
    ("percent", "index"), [(100, 3), (50, 3), (49, 2), (39, 2), (38, 1), (27, 1), (26, 0), (15, 0), (0, 0)]
)
def test_the_cap_falls_with_the_charge(percent: float, index: int) -> None:
    # From 50 to 15 percent: a step every 11.7.
    state = State(0, 0, sensors={"battery": Reading(percent)})
    assert Battery(inner=Fixed(variant=-1)).choose(state, LADDER).variant == index


def test_limits_that_cross_are_refused() -> None:
    with pytest.raises(BadValue, match="empty_percent and full_percent must be 0 to 100, the first below"):
        Battery(full_percent=10, empty_percent=20)
