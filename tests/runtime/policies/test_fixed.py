# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.state import Ladder, Profile, State

LADDER = Ladder(
    tuple(Profile(str(i), f"v{i}", 0.5 + i / 10, 10.0 * (i + 1), 10.0 * (i + 1)) for i in range(3))
)


@pytest.mark.parametrize(("variant", "index"), [(0, 0), (1, 1), (-1, 2), (-3, 0), (9, 2), (-9, 0)])
def test_a_place_counts_from_either_end(variant: int, index: int) -> None:
    assert Fixed(variant=variant).choose(State(0, 0), LADDER).variant == index


def test_it_refuses_what_its_variant_answers_too_late() -> None:
    state = State(0, 0, waited_s=0.05, deadline_s=0.07, slowdown_age_s=0.0)
    assert [Fixed(variant=i).choose(state, LADDER).admit for i in range(3)] == [True, True, False]
    assert Fixed(variant=2, reject=False).choose(state, LADDER).admit


def test_a_slowdown_that_cannot_be_is_planned_as_profiled() -> None:
    assert Fixed().choose(State(0, 0, deadline_s=0.02, slowdown=math.nan), LADDER).admit


def test_it_lets_one_in_again_after_a_slow_spell_that_nobody_measured_since() -> None:
    """Refusing all, it would never hear that the device has recovered."""
    admits = {
        age: Fixed().choose(State(0, 0, deadline_s=0.02, slowdown=50.0, slowdown_age_s=age), LADDER).admit
        for age in (1.0, 6.0, 20.0, 40.0)
    }
    assert admits == {1.0: False, 6.0: False, 20.0: False, 40.0: True}  # 1 + 49 / 128 < 2
