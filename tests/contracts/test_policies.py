# SPDX-License-Identifier: Apache-2.0
"""What all policies promise."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue
from edgeshift.runtime import POLICIES, SENSORS
from edgeshift.runtime.limits import sensors_of
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.state import Ladder, Profile, Reading, State

NAMES = POLICIES.names()
ABSURD = [math.nan, -1.0, math.inf, -math.inf, 1e9]
# A plausible value of each sensor that a policy may ask for, at which nothing is capped.
GOOD = {
    "cpufreq": 1.0,
    "temperature": 40.0,
    "battery": 90.0,
    "upload": 50_000.0,
    "raspberry_pi": 0.0,
    "pressure": 0.0,
}
# Sensor -> which way is worse for the device.
WORSE = {"cpufreq": -1, "temperature": 1, "battery": -1, "upload": -1, "raspberry_pi": 1, "pressure": 1}
PLAUSIBLE = [
    ("cpufreq", 0.05, 1.0),
    ("temperature", 0.0, 110.0),
    ("battery", 0.0, 100.0),
    ("upload", 1.0, 1e6),
]
LADDERS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.floats(0.1, 20.0), min_size=n, max_size=n), st.floats(1.0, 3.0)
    )
)


def ladder(latencies: list[float], tail: float = 1.2) -> Ladder:
    """Variants with these latencies; accuracy rises along the ladder."""
    made = [
        Profile(f"{i:016x}", f"v{i}", 0.5 + 0.05 * i, ms, ms * tail, fixed_ms=0.2 * ms)
        for i, ms in enumerate(sorted(latencies))
    ]
    return Ladder.of(tuple(made))


@st.composite
def scenes(draw: Any, name: str) -> tuple[State, Ladder]:
    """A plausible state, with what the policy of that name may remember, and a ladder."""
    _, latencies, tail = draw(LADDERS)
    rungs = ladder(latencies, tail)
    sensors = {sensor: Reading(value, draw(st.floats(0, 5))) for sensor, value in GOOD.items()}
    for sensor, low, high in PLAUSIBLE:
        sensors[sensor] = replace(sensors[sensor], value=draw(st.floats(low, high)))
    now_s = draw(st.floats(0, 1e6))
    state = State(
        now_s=now_s,
        active=draw(st.integers(0, len(rungs) - 1)),
        since_switch_s=draw(st.floats(0, 100) | st.just(math.inf)),
        waited_s=draw(st.floats(0, 0.2)),
        deadline_s=draw(st.floats(0.0001, 0.5) | st.just(math.inf)),
        queued=draw(st.integers(0, 100)),
        rate=draw(st.floats(0, 5000)),
        slowdown=draw(st.floats(0.5, 20)),
        slowdown_age_s=draw(st.floats(0, 20) | st.just(math.inf)),
        recent_p95_s=draw(st.floats(0, 1) | st.just(math.nan)),
        sensors=sensors,
    )
    if draw(st.booleans()):
        return state, rungs
    # What it remembers from half a second before.
    before = replace(state, now_s=now_s - 0.5, recent_p95_s=draw(st.floats(0, 1)))
    return replace(state, memory=POLICIES.make(name).choose(before, rungs).memory), rungs


def changes(state: State) -> dict[str, State]:
    """The same state made harder, one way at a time."""
    harder = {
        "queued": replace(state, queued=state.queued + 7),
        "rate": replace(state, rate=state.rate * 2 + 10),
        "waited": replace(state, waited_s=state.waited_s + 0.005),
        "slowdown": replace(state, slowdown=state.slowdown * 1.7),
        "slowdown age": replace(state, slowdown_age_s=state.slowdown_age_s + 4),
        "p95": replace(state, recent_p95_s=state.recent_p95_s + 0.05),
        "deadline": replace(state, deadline_s=min(state.deadline_s, 1.0) * 0.6),
    }
    for name, sign in WORSE.items():
        value = state.sensors[name].value
        worse = value * 0.7 if sign < 0 else value + 5
        harder[name] = replace(
            state, sensors={**state.sensors, name: replace(state.sensors[name], value=worse)}
        )
    return harder


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_harder_state_never_selects_a_larger_variant(name: str, data: st.DataObject) -> None:
    state, rungs = data.draw(scenes(name))
    policy = POLICIES.make(name)
    chosen = policy.choose(state, rungs).variant
    worse = {what: policy.choose(harder, rungs).variant for what, harder in changes(state).items()}
    assert {what: got for what, got in worse.items() if got > chosen} == {}


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_request_that_is_refused_is_refused_in_every_harder_state(name: str, data: st.DataObject) -> None:
    state, rungs = data.draw(scenes(name))
    policy = POLICIES.make(name)
    if not policy.choose(state, rungs).admit:
        for what in ("waited", "deadline", "slowdown"):
            assert not policy.choose(changes(state)[what], rungs).admit


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), share=st.floats(0, 0.99))
def test_no_larger_variant_inside_the_dwell(name: str, data: st.DataObject, share: float) -> None:
    state, rungs = data.draw(scenes(name))
    policy = patient(name)
    if name == "fixed":  # the variant is the user's: nothing is chosen
        return
    state = replace(state, since_switch_s=share * 0.5)
    assert policy.choose(state, rungs).variant <= state.active


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_equal_states_give_equal_decisions_that_the_ladder_has(name: str, data: st.DataObject) -> None:
    state, rungs = data.draw(scenes(name))
    first, second = (POLICIES.make(name).choose(replace(state), rungs) for _ in range(2))
    assert first == second
    assert 0 <= first.variant < len(rungs)
    assert all(isinstance(number, float) for number in first.memory)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize(
    "field", ["slowdown", "rate", "queued", "waited_s", "deadline_s", "recent_p95_s", "now_s"]
)
def test_a_state_with_a_number_that_cannot_be_is_answered(name: str, value: float, field: str) -> None:
    rungs = ladder([1, 2, 4])
    state = replace(State(10.0, 1, deadline_s=0.1, slowdown_age_s=0.0, sensors=readings()), **{field: value})
    decision = POLICIES.make(name).choose(state, rungs)
    assert 0 <= decision.variant < 3
    assert decision == POLICIES.make(name).choose(state, rungs)


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("field", ["slowdown", "rate", "queued", "waited_s"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("fixed", "hysteresis", "pi")])
def test_an_absurd_load_ends_at_the_smallest(name: str, field: str, value: float) -> None:
    state = State(10.0, 2, deadline_s=10.0, slowdown_age_s=0.0, sensors=readings())
    assert POLICIES.make(name).choose(state, ladder([1, 2, 4])).variant == 2
    assert POLICIES.make(name).choose(replace(state, **{field: value}), ladder([1, 2, 4])).variant == 0


def patient(name: str) -> Policy:
    """The policy with a dwell of half a second, its own or that of the one inside it."""
    options = [f.name for f in fields(POLICIES.find(name))]
    own = {"dwell_s": 0.5} if "dwell_s" in options else {}
    inner = {"inner": patient("deadline")} if "inner" in options else {}
    policy: Policy = POLICIES.make(name, **own, **inner)
    return policy


def readings(**changed: Reading) -> dict[str, Reading]:
    """Every sensor at a value that caps nothing, but these."""
    return {**{name: Reading(value, 0.1) for name, value in GOOD.items()}, **changed}


BAD = [None, Reading(1.0, 5.1), Reading(1.0, math.nan), Reading(1.0, -1.0)]
# Degrees below zero are cold, not absurd.
BAD += [Reading(-1000.0 if value == -1 else value, 0.1) for value in ABSURD]


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize(("name", "sensor"), [(n, s) for n in NAMES for s in sensors_of(POLICIES.make(n))])
def test_a_sensor_that_cannot_be_trusted_ends_at_the_smallest(
    name: str, sensor: str, bad: Reading | None
) -> None:
    known = readings(**({sensor: bad} if bad else {}))
    if bad is None:
        del known[sensor]
    state = State(10.0, 2, deadline_s=10.0, slowdown_age_s=math.inf, sensors=known)
    assert POLICIES.make(name).choose(replace(state, sensors=readings()), ladder([1, 2, 4])).variant == 2
    assert POLICIES.make(name).choose(state, ladder([1, 2, 4])).variant == 0


@pytest.mark.parametrize("name", NAMES)
def test_one_variant_is_all_there_is_to_choose(name: str) -> None:
    state = State(0.0, 0, deadline_s=1.0, sensors=readings())
    assert POLICIES.make(name).choose(state, ladder([1])).variant == 0


@pytest.mark.parametrize("name", NAMES)
def test_an_active_variant_that_the_ladder_lost_is_no_harm(name: str) -> None:
    state = State(0.0, 9, deadline_s=1.0, sensors=readings())
    assert 0 <= POLICIES.make(name).choose(state, ladder([1, 2])).variant < 2


@pytest.mark.parametrize("name", NAMES)
def test_a_deadline_that_is_over_is_not_admitted(name: str) -> None:
    state = State(0.0, 0, waited_s=0.2, deadline_s=0.1, slowdown_age_s=0.0, sensors=readings())
    assert not POLICIES.make(name).choose(state, ladder([1, 2])).admit


@pytest.mark.parametrize("name", NAMES)
def test_causes_are_a_word_or_two(name: str) -> None:
    state = State(0.0, 0, deadline_s=0.1, sensors=readings())
    assert POLICIES.make(name).choose(state, ladder([1, 2])).cause.replace(" ", "").isalpha()


@pytest.mark.parametrize("name", NAMES)
def test_the_sensors_it_needs_are_on_the_shelf(name: str) -> None:
    assert set(sensors_of(POLICIES.make(name))) <= set(SENSORS.names())


@pytest.mark.parametrize("name", NAMES)
def test_options_that_cannot_be_are_refused(name: str) -> None:
    for option, default in vars(POLICIES.make(name)).items():
        if isinstance(default, float):
            with pytest.raises(BadValue, match=f"{option}"):
                POLICIES.make(name, **{option: math.nan})
