# SPDX-License-Identifier: Apache-2.0
"""A server whose device was slow for a moment admits requests again: the policy it runs by default finds out."""

import pytest

from edgeshift.runtime.policies.deadline import Deadline
from edgeshift.runtime.state import Ladder, Profile, State

LADDER = Ladder((Profile("a", "small", 0.8, 1, 2), Profile("b", "large", 0.9, 3, 4)))


def state(slowdown: float, age_s: float, deadline_s: float = 0.02) -> State:
    return State(now_s=0, active=1, deadline_s=deadline_s, slowdown=slowdown, slowdown_age_s=age_s)


@pytest.mark.parametrize(("age_s", "cause"), [(0.05, "late"), (0.11, "probe"), (60, "probe")])
def test_one_request_finds_out_whether_the_device_recovered(age_s: float, cause: str) -> None:
    found = Deadline().choose(state(400, age_s), LADDER)
    assert (found.variant, found.cause, found.admit) == (0, cause, cause == "probe")


def test_what_would_be_late_at_full_speed_is_no_probe() -> None:
    assert not Deadline().choose(state(400, 60, deadline_s=0.0019), LADDER).admit


def test_refusing_everything_ends() -> None:
    slowdown, last_s, admitted = 400.0, 0.0, 0
    for millisecond in range(1, 3000):
        now_s = millisecond / 1000
        if Deadline().choose(state(slowdown, now_s - last_s), LADDER).admit:
            slowdown += 0.3 * (1 - slowdown)
            last_s = now_s
            admitted += 1
    # A probe each 0.1 s until 2 ms x slowdown fits into 20 ms: 400 x 0.7^11 is 7.9; then all are admitted.
    assert slowdown == pytest.approx(1)
    assert admitted > 1500
