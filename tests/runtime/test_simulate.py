# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math

import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Silent
from edgeshift.runtime import POLICIES
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.simulate import FULL, REFUSED, Luck, Replay, replay
from edgeshift.runtime.simulate_compare import Estimate, Trials, compare, plain_comparison
from edgeshift.runtime.simulate_oracle import most_work, upper_bound
from edgeshift.runtime.state import Ladder, Profile
from edgeshift.runtime.traces import Clock, Link, modelled_clock

# p95 = median: no noise but the stragglers.
LADDER = Ladder((Profile("0", "small", 0.6, 10.0, 10.0), Profile("1", "large", 0.9, 40.0, 40.0)))
NOISY = Ladder((Profile("0", "small", 0.6, 10.0, 12.0), Profile("1", "large", 0.9, 30.0, 36.0)))


def sent(*times: float) -> np.ndarray:
    """Arrival times."""
    return np.array(times, np.float64)


def poisson(rate: float, count: int, seed: int = 0) -> np.ndarray:
    """Poisson arrivals."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


def calm(requests: int) -> int:
    """A seed that makes no straggler of the first requests."""
    return next(seed for seed in range(100) if (Luck.draw(requests, seed).stretch == 1).all())


def test_one_request_after_the_other_by_hand() -> None:
    # 0 -> 40 ms; at 10 waits 30, ends at 80, 70 ms after arrival; at 200 is alone.
    trace = Replay.of(sent(0.0, 0.01, 0.2), 0.06)
    found = replay(Fixed(variant=1, reject=False), LADDER, trace, seed=calm(3))
    assert (found.on_time, found.missed, found.refused, found.switches) == (2, 1, 0, 1)
    assert found.accuracy_on_time == pytest.approx(1.8 / 3)
    assert found.chosen.tolist() == [1, 1, 1]


def test_a_refused_request_takes_no_time_and_switches_nothing() -> None:
    trace = Replay.of(sent(0.0, 0.01, 0.03), 0.06)
    found = replay(Fixed(variant=1), LADDER, trace, seed=calm(3))
    # At 40 ms the second has waited 30 and cannot be done in 60; the third waited 10.
    assert found.chosen.tolist() == [1, REFUSED, 1]
    assert (found.on_time, found.refused, found.switches) == (2, 1, 1)


def test_a_full_queue_drops_the_newest() -> None:
    trace = Replay.of(sent(0.0, 0.001, 0.002, 0.003), 1.0)
    found = replay(Fixed(variant=0), LADDER, trace, seed=calm(4), queue_limit=2)
    assert found.chosen.tolist() == [0, 0, 0, FULL]
    assert found.full == 1


def test_a_lower_clock_stretches_all_but_the_fixed_part() -> None:
    half = Clock(1.0, np.array([0.5]), np.array([40.0]))
    ladder = Ladder((Profile("0", "small", 0.6, 10.0, 10.0, fixed_ms=4.0),))
    # 6 / 0.5 + 4 = 16 ms.
    for deadline_s, on_time in ((0.0161, 1), (0.0159, 0)):
        trace = Replay.of(sent(0.0), deadline_s, clock=half)
        assert replay(Fixed(reject=False), ladder, trace, seed=calm(1)).on_time == on_time


def test_the_upload_comes_off_the_deadline() -> None:
    # 24 kbit at 1200 kbit/s = 20 ms, then 10 ms of service.
    link = Link(0.1, np.full(10, 1200.0))
    for deadline_s, on_time in ((0.031, 1), (0.029, 0)):
        trace = Replay.of(sent(0.0), deadline_s, link=link)
        assert replay(Fixed(reject=False), LADDER, trace, seed=calm(1)).on_time == on_time


@pytest.mark.parametrize("name", POLICIES.names())
def test_the_same_trace_and_seed_give_the_same_log(name: str) -> None:
    clock, link = modelled_clock(1, 60.0), Link(0.1, np.full(100, 5000.0))
    trace = Replay.of(poisson(60, 300), 0.1, clock=clock, link=link)
    first, second = (replay(POLICIES.make(name), NOISY, trace, seed=3) for _ in range(2))
    assert first.log_sha256 == second.log_sha256
    assert first.offered == first.on_time + first.missed + first.refused + first.full == 300


@pytest.mark.parametrize("clocked", [False, True])
@pytest.mark.parametrize("rate", [10, 60, 200])
def test_no_policy_exceeds_the_bound(rate: int, clocked: bool) -> None:
    trace = Replay.of(poisson(rate, 400), 0.1, clock=modelled_clock(1, 60.0) if clocked else None)
    bound = upper_bound(NOISY, trace, seed=2)
    policies = [POLICIES.make(name) for name in POLICIES.names()] + [Fixed(variant=1)]
    best = max(replay(policy, NOISY, trace, seed=2).accuracy_on_time for policy in policies)
    assert best <= bound <= 0.9 + 1e-9


def test_the_bound_is_the_best_of_a_case_by_hand() -> None:
    # One window of 50 ms, two requests at once: 40 + 10 fits, so one large and one small.
    trace = Replay.of(sent(0.0, 0.0), 0.05)
    assert upper_bound(LADDER, trace, seed=calm(2)) == pytest.approx(1.5 / 2)


def test_the_most_work_leaves_a_request_at_its_end() -> None:
    assert most_work([0.0, 1.0, 10.0], [2.0, 3.0, 12.0], [5.0, 5.0, 1.0]) == 4.0


@pytest.mark.parametrize("rate", [25, 40, 70, 140])
def test_the_default_beats_the_smallest_and_ends_close_to_the_bound(rate: int) -> None:
    trace = Replay.of(poisson(rate, 3000), 0.15)
    mine = replay(POLICIES.make("deadline"), NOISY, trace).accuracy_on_time
    smallest = replay(Fixed(), NOISY, trace).accuracy_on_time
    # Up to 100 a second the smallest keeps up; beyond, both refuse alike and a point is luck.
    assert mine > smallest - (0.01 if rate > 100 else 0.0)
    assert mine > 0.9 * upper_bound(NOISY, trace)


def test_twice_too_much_load_is_answered_in_time_or_refused() -> None:
    trace = Replay.of(poisson(200, 4000), 0.1)
    assert replay(POLICIES.make("deadline"), NOISY, trace).admitted_on_time >= 0.98


def test_a_comparison_pairs_seeds_and_names_the_best_single_variant() -> None:
    trials = Trials(NOISY, lambda seed: Replay.of(poisson(20, 300, seed), 0.2), range(3), (0.5, 0.8))
    found = compare({"deadline": POLICIES.make("deadline")}, trials, Silent())
    assert found.best_static == "large"
    assert [s.name for s in found.statics] == ["small", "large"]
    assert found.statics[0].over_smallest == Estimate(0.0, 0.0)
    (mine,) = found.standings
    paired = mine.accuracy_on_time.mean - found.statics[1].accuracy_on_time.mean
    assert mine.over_best_static.mean == pytest.approx(paired)
    assert plain_comparison(found)["standings"][0]["name"] == "deadline"


def test_one_seed_gives_no_interval() -> None:
    assert math.isnan(Estimate.of([0.5]).half_width)
    # Student with 2 degrees of freedom: 4.303 * 0.1 / sqrt(3).
    assert Estimate.of([0.4, 0.5, 0.6]).half_width == pytest.approx(4.303 * 0.1 / math.sqrt(3))


def test_what_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(BadValue, match=r"requests in the trace must be at least 1; .*, got 0"):
        Replay.of(sent(), 0.1)
    with pytest.raises(BadValue, match="deadline must be a finite number of seconds above 0, got 0"):
        Replay.of(sent(0.0), 0.0)
    with pytest.raises(BadValue, match="scores must be 2, one per variant of the ladder, got 1"):
        replay(Fixed(), LADDER, Replay.of(sent(0.0), 0.1), scores=[0.5])
    trials = Trials(LADDER, lambda seed: Replay.of(sent(0.0), 0.1), ())
    with pytest.raises(BadValue, match="seeds must be at least 1, got 0"):
        compare({}, trials, Silent())
    with pytest.raises(BadValue, match=r"names of policies must be other than .*, got \['small'\]"):
        compare({"small": Fixed()}, dataclasses.replace(trials, seeds=(0,)), Silent())
