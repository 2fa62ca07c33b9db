# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from edgeshift.runtime.policies.pi import Pi
from edgeshift.runtime.state import Ladder, Profile, State

LADDER = Ladder(tuple(Profile(str(i), f"v{i}", 0.5 + i / 10, 1.0 + i, 1.0 + i) for i in range(4)))


def test_the_output_is_proportional_and_integral_part() -> None:
    # Error 0.7 - 0.3 = 0.4; integral 0.5 + 0.5 * 0.4 * 0.1 = 0.52; output 0.52 + 0.5 * 0.4 = 0.72 of 3 steps.
    state = State(10.1, 3, deadline_s=0.1, recent_p95_s=0.03, memory=(0.5, 10.0))
    decision = Pi().choose(state, LADDER)
    assert decision.variant == 2
    assert decision.memory == (pytest.approx(0.52), 10.1)


def test_the_integral_does_not_wind_up() -> None:
    state = State(99.0, 0, deadline_s=0.1, recent_p95_s=0.0, memory=(1.0, 0.0))
    assert Pi().choose(state, LADDER).memory[0] == 1.0


def test_before_the_first_answer_it_is_at_the_smallest() -> None:
    assert Pi().choose(State(0, 3, deadline_s=0.1, recent_p95_s=math.nan), LADDER).variant == 0
