# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.runtime.policies.deadline import PRIOR, STEPS, Deadline
from edgeshift.runtime.state import Decision, Ladder, Profile, State

LADDER = Ladder((Profile("0", "small", 0.7, 10.0, 10.0), Profile("1", "large", 0.9, 20.0, 20.0)))
IDLE = State(0.0, 0, deadline_s=0.1, slowdown_age_s=0.0)


def chosen(**changed: float) -> Decision:
    """What it decides when the device is idle, but for this."""
    return Deadline().choose(replace(IDLE, **changed), LADDER)  # type: ignore[arg-type]  # fields by name


def test_an_idle_device_answers_with_the_largest() -> None:
    assert (chosen().variant, chosen().cause) == (1, "room")


def test_the_largest_must_fit_into_the_margin_of_the_deadline() -> None:
    # 20 ms <= 0.95 D from D = 21.06 ms on.
    assert (chosen(deadline_s=0.0215).variant, chosen(deadline_s=0.0205).variant) == (1, 0)
    assert chosen(deadline_s=0.0205).cause == "deadline"


def test_a_slow_device_is_planned_with_as_it_is() -> None:
    assert (chosen(slowdown=4.0).variant, chosen(slowdown=5.0).variant) == (1, 0)


def test_a_rate_that_the_smallest_cannot_keep_up_with_leaves_only_the_smallest() -> None:
    # 10 ms each: 100 a second.
    assert (chosen(rate=10.0).variant, chosen(rate=101.0).variant) == (1, 0)
    assert chosen(rate=101.0).cause == "load"


def test_what_even_the_smallest_answers_too_late_is_refused() -> None:
    assert chosen(waited_s=0.0899).admit
    assert chosen(waited_s=0.0901) == Decision(0, "late", False, (*PRIOR, 0.0))


def test_after_refusals_only_for_a_while_one_request_probes_the_device() -> None:
    # It seemed 20 times slower, and nothing was measured since.
    assert chosen(slowdown=20.0, slowdown_age_s=1.0).cause == "probe"
    assert not chosen(slowdown=20.0, slowdown_age_s=0.05).admit


def test_risk_is_learned_from_how_busy_times_end() -> None:
    policy, halfway = Deadline(weight=0.5), replace(IDLE, waited_s=0.045)
    first = policy.choose(halfway, LADDER)
    step = int(0.045 / (0.095 - 0.01) * STEPS)
    assert first.memory == (*PRIOR, float(1 << step))
    refused = policy.choose(replace(IDLE, waited_s=0.095, memory=first.memory), LADDER)
    assert refused.memory[step] == pytest.approx(PRIOR[step] + 0.5 * (1 - PRIOR[step]))
    calm = policy.choose(replace(IDLE, memory=first.memory), LADDER)
    assert calm.memory[step] == pytest.approx(0.5 * PRIOR[step])


def test_what_was_never_seen_fades_unless_a_loss_raised_it() -> None:
    policy, top = Deadline(fade=0.1), STEPS - 1
    unseen = policy.choose(replace(IDLE, memory=(*PRIOR, 1.0)), LADDER).memory
    assert unseen[0] == pytest.approx(PRIOR[0] * 0.9)  # seen, and its weight is 0.1 too
    assert unseen[1:STEPS] == pytest.approx([0.9 * risk for risk in PRIOR[1:]])
    raised = (*PRIOR[:top], 0.99, 1.0)
    assert policy.choose(replace(IDLE, memory=raised), LADDER).memory[top] == 0.99
    # A loss that it had no part in leaves it alone.
    lost = policy.choose(replace(IDLE, waited_s=0.095, memory=(*PRIOR, 1.0)), LADDER).memory
    assert lost[1:STEPS] == PRIOR[1:]


@pytest.mark.parametrize("fade", [-0.1, 1.0, math.nan])
def test_a_fade_is_a_share_below_1(fade: float) -> None:
    with pytest.raises(BadValue, match="fade must be 0 to below 1, got"):
        Deadline(fade=fade)


def test_a_high_risk_makes_time_too_dear() -> None:
    # The large one gains 0.2 and takes one small service more: dear from a risk of 0.2 / 0.7 = 0.286 on.
    assert chosen(memory=(0.28,) * STEPS + (0.0,)).variant == 1  # type: ignore[arg-type]
    assert chosen(memory=(0.29,) * STEPS + (0.0,)).variant == 0  # type: ignore[arg-type]


def test_a_variant_that_earns_less_per_time_answers_only_where_nobody_waits() -> None:
    poor = Ladder((Profile("0", "poor", 0.2, 10.0, 10.0), Profile("1", "good", 0.9, 20.0, 20.0)))
    late = replace(IDLE, waited_s=0.085)
    assert Deadline().choose(late, poor).admit
    assert not Deadline().choose(replace(late, queued=1), poor).admit
    assert Deadline().choose(replace(IDLE, rate=1000.0), poor).variant == 1


def test_without_a_deadline_a_long_queue_leaves_only_the_smallest() -> None:
    assert chosen(deadline_s=math.inf).variant == 1
    assert chosen(deadline_s=math.inf, queued=120).variant == 0
    assert chosen(deadline_s=math.inf, queued=120).admit


def test_options_are_checked() -> None:
    with pytest.raises(BadValue, match="margin must be above 0 and at most 1, got 0"):
        Deadline(margin=0)
    with pytest.raises(BadValue, match=r"unsure must be a finite number from 1, got 0\.5"):
        Deadline(unsure=0.5)
