# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.runtime.policies.hysteresis import Hysteresis
from edgeshift.runtime.state import Ladder, Profile, State

LADDER = Ladder(tuple(Profile(str(i), f"v{i}", 0.5 + i / 10, 1.0 + i, 1.0 + i) for i in range(4)))


@pytest.mark.parametrize(
    ("p95_s", "since", "index"),
    [(0.04, 3.0, 2), (0.04, 1.0, 1), (0.07, 9.0, 1), (0.095, 3.0, 0), (0.095, 0.1, 1), (math.nan, 9.0, 0)],
)
def test_one_step_at_a_time_between_two_thresholds(p95_s: float, since: float, index: int) -> None:
    state = State(0, 1, since, deadline_s=0.1, recent_p95_s=p95_s)
    assert Hysteresis().choose(state, LADDER).variant == index


def test_thresholds_that_cross_are_refused() -> None:
    with pytest.raises(BadValue, match="low and high must be above 0, the first below the second"):
        Hysteresis(low=0.9, high=0.5)
