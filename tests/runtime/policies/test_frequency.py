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


def at(
    share: float | None, memory: tuple[float, ...] = (), slowdown: float = 1.0, active: int = 2
) -> Decision:
    """What it decides at that clock."""
    sensors = {} if share is None else {"cpufreq": Reading(share)}
    state = State(0, active, slowdown=slowdown, slowdown_age_s=0.0, sensors=sensors, memory=memory)
    return Frequency(inner=Fixed(variant=-1), target_ms=50.0).choose(state, LADDER)


@pytest.mark.parametrize(("share", "index"), [(1.0, 2), (0.7, 2), (0.66, 1), (0.26, 1), (0.24, 0), (0.1, 0)])
def test_the_largest_under_the_target_at_the_clock(share: float, index: int) -> None:
    # 20 / f + 20 <= 50 from f = 0.667 on; 10 / f + 10 <= 50 from f = 0.25 on.
    assert at(share).variant == index


@pytest.mark.parametrize(("slowdown", "index"), [(1.2, 2), (1.3, 1), (2.6, 0)])
def test_without_a_clock_the_own_slowdown_stands_for_it(slowdown: float, index: int) -> None:
    assert at(None, slowdown=slowdown).variant == index


def after(points: list[tuple[float, int, float]], memory: tuple[float, ...] = ()) -> tuple[float, ...]:
    """What it remembers after 50 answers at each clock, of that variant, with that slowdown."""
    for share, active, slowdown in points:
        for _ in range(50):
            state = State(
                0,
                active,
                slowdown=slowdown,
                slowdown_age_s=0.0,
                sensors={"cpufreq": Reading(share)},
                memory=memory,
            )
            memory = Frequency(inner=Fixed(variant=-1), target_ms=50.0).choose(state, LADDER).memory
    return memory


def test_a_share_that_does_not_stretch_is_learned() -> None:
    # Truly 0.1 / f + 0.9: memory-bound. 40 * (0.1 / 0.4 + 0.9) = 46 ms, where the profile says 20 / 0.4 + 20 = 70.
    memory = after([(f, 2, 0.1 / f + 0.9) for f in (1.0, 0.8, 0.5)])
    assert (at(0.4).variant, at(0.4, memory).variant) == (1, 2)


def test_a_variant_never_seen_is_taken_to_stretch_as_the_others_do() -> None:
    # Seen: only the middle one, fully compute-bound. The large one then takes 40 / f, 50 ms at 0.8.
    memory = after([(f, 1, 1 / f) for f in (1.0, 0.8, 0.5)])
    assert [at(f, memory).variant for f in (0.81, 0.79)] == [2, 1]
    # By its profile it would be 20 / 0.7 + 20 = 48.6.
    assert (at(0.7).variant, at(0.7, memory).variant) == (2, 1)


def test_each_variant_has_a_fit_of_its_own() -> None:
    # The large one does not stretch at all, the middle one in full: 40 ms at any clock, 20 / f = 50 at 0.4.
    memory = after([(f, v, 1.0 if v == 2 else 1 / f) for v in (1, 2) for f in (1.0, 0.8, 0.5)])
    assert at(0.3, memory).variant == 2
    # Slower than its profile throughout, the large one misses the target and the middle one's own fit decides.
    slow = after([(f, v, 1.3 if v == 2 else 1 / f) for v in (1, 2) for f in (1.0, 0.8, 0.5)])
    assert [at(f, slow).variant for f in (0.41, 0.39)] == [1, 0]


def test_one_clock_is_enough_to_learn_that_all_serve_faster_than_they_were_timed() -> None:
    # Timed cold: the middle one serves in 0.7 of its profile. Its 41 points weigh four times what the profiles do, so
    # all are taken to need (10 + 41 * 0.7) / (10 + 41) = 0.76: at 0.5 the large one 0.76 * 60 = 45.5 ms.
    memory = after([(1.0, 1, 0.7)])
    assert (at(0.5).variant, at(0.5, memory).variant) == (1, 2)


def test_a_variant_slower_than_the_others_by_its_profile_is_left_and_in_time_tried_again() -> None:
    # The middle one serves as profiled, the large one takes 60 ms instead of 40.
    memory = after([(1.0, 1, 1.0), (1.0, 2, 1.5)])
    assert (at(1.0, after([(1.0, 1, 1.0)])).variant, at(1.0, memory).variant) == (2, 1)
    # After 490 more of the middle one its 41 points count as 41 * 0.995 ** 490 = 3.5: (10 + 3.5 * 1.5) / 13.5 = 1.13.
    assert at(1.0, after([(1.0, 1, 1.0)] * 10, memory)).variant == 2


def test_a_larger_variant_that_was_seen_must_leave_the_band() -> None:
    # 20 / f + 20 = 49.7 ms at 0.674: under the target of 50, above 49.5. By its own fit too.
    memory = after([(f, 2, 0.5 / f + 0.5) for f in (1.0, 0.8, 0.6)])
    assert [at(0.674, memory, active=active).variant for active in (0, 1, 2)] == [1, 1, 2]
    assert at(0.72, memory, active=0).variant == 2
    # Not seen yet, it is tried; without a clock nothing is known of it, and it must leave the band.
    assert at(0.674, active=0).variant == 2
    assert [at(None, slowdown=1.24, active=active).variant for active in (0, 2)] == [1, 2]


def test_what_was_smoothed_over_a_change_of_the_clock_does_not_count() -> None:
    # The clock changes with every answer, so that each slowdown is that of another clock.
    memory: tuple[float, ...] = ()
    for _ in range(100):
        for share in (1.0, 0.8, 0.5):
            memory = at(share, memory, slowdown=0.1 / share + 0.9).memory
    assert at(0.4, memory).variant == at(0.4).variant == 1


def test_a_ladder_of_another_length_starts_to_learn_anew() -> None:
    memory = after([(f, 2, 0.1 / f + 0.9) for f in (1.0, 0.8, 0.5)])
    assert at(0.4, memory[:-1]).variant == at(0.4).variant


@pytest.mark.parametrize("share", [None, 0.0, 0.04, 1.6, float("nan"), float("inf")])
def test_without_clock_and_slowdown_the_smallest_answers(share: float | None) -> None:
    sensors = {} if share is None else {"cpufreq": Reading(share)}
    state = State(0, 2, sensors=sensors)
    decision = Frequency(inner=Fixed(variant=-1), target_ms=50.0).choose(state, LADDER)
    assert (decision.variant, decision.cause) == (0, "clock unknown")


def test_a_clock_read_too_long_ago_does_not_count() -> None:
    state = State(0, 2, sensors={"cpufreq": Reading(1.0, age_s=5.1)})
    assert Frequency(inner=Fixed(variant=-1), target_ms=50.0).choose(state, LADDER).variant == 0


def test_the_nearest_under_the_target_is_chosen_not_the_nearest() -> None:
    # At 0.95 the large one takes 41.05 ms, 1.05 above a target of 40, the middle one 20.5.
    state = State(0, 2, sensors={"cpufreq": Reading(0.95)})
    assert Frequency(inner=Fixed(variant=-1), target_ms=40.0).choose(state, LADDER).variant == 1


def test_a_clock_that_reads_too_low_chooses_no_larger_variant() -> None:
    rungs = Ladder((Profile("a", "a", 0.5, 1.0, 1.0), Profile("b", "b", 0.6, 17.0, 17.0)))

    def chosen(clock: float) -> int:
        sensors = {"cpufreq": Reading(clock, 0.0)}
        state = State(0, 0, deadline_s=0.25, slowdown=1.0, slowdown_age_s=0.0, sensors=sensors)
        return Frequency(inner=Fixed(variant=-1, reject=False)).choose(state, rungs).variant

    assert [chosen(clock) for clock in (1.0, 0.06, 0.044, 1e-3)] == [1, 0, 0, 0]
