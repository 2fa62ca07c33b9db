# SPDX-License-Identifier: Apache-2.0
"""How long a call takes, against a clock that is known."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.measure import Protocol, latencies, latency
from edgeshift.measure.latency import QUICK, batch_of

MS = 1_000_000
EXAMPLE = np.zeros((1, 3), np.float32)


@dataclass
class Clock:
    """Nanoseconds that pass only when somebody works."""

    now: int = 0
    order: list[str] = field(default_factory=list)

    def __call__(self) -> int:
        return self.now


@dataclass
class FakeSession:
    """Takes as long as it is told, call by call; the last time goes on for ever."""

    clock: Clock
    times_ms: tuple[float, ...]
    name: str = "a"
    threads: int = 1
    runtime: str = "fake 1"
    calls: int = 0
    shapes: set[tuple[int, ...]] = field(default_factory=set)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        self.clock.now += int(self.times_ms[min(self.calls, len(self.times_ms) - 1)] * MS)
        self.clock.order.append(self.name)
        self.shapes.add(inputs.shape)
        self.calls += 1
        return inputs


def timed(*sessions: FakeSession, batch_size: int = 1, protocol: Protocol | None = None) -> tuple:
    return latencies(sessions, EXAMPLE, batch_size, protocol or Protocol(), sessions[0].clock)


def test_the_median_is_in_milliseconds() -> None:
    (found,) = timed(FakeSession(Clock(), (4.0,)))
    assert (found.value, found.unit, found.kind, found.p95, found.spread) == (4.0, "ms", "measured", 4.0, 0.0)


def test_a_measurement_says_how_it_was_taken() -> None:
    clock = Clock()
    (found,) = timed(FakeSession(clock, (4.0,), threads=2), batch_size=5)
    assert (found.quantity, found.threads, found.batch_size, found.runtime) == ("latency", 2, 5, "fake 1")
    assert found.device != ""


def test_warm_up_ends_when_two_windows_agree() -> None:
    (found,) = timed(FakeSession(Clock(), (8.0,) * 5 + (4.0,) * 5 + (2.0,)))
    assert (found.value, found.warmup) == (2.0, 20)


def test_warm_up_ends_when_its_time_is_up() -> None:
    times = tuple(float(2**n) for n in range(40, 0, -1) for _ in range(5))
    (found,) = timed(FakeSession(Clock(), times), protocol=Protocol(max_seconds=1.0))
    assert found.warmup == 5


def test_at_least_so_many_calls_count() -> None:
    (found,) = timed(FakeSession(Clock(), (100.0,)), protocol=Protocol(min_repeats=20, max_seconds=60))
    # 8 of 10 calls in a block count: three blocks make 24.
    assert found.repeats == 24


def test_quick_calls_are_repeated_until_the_least_time() -> None:
    (found,) = timed(FakeSession(Clock(), (1.0,)), protocol=Protocol(min_repeats=2, min_seconds=0.1))
    assert found.repeats == 104


def test_slow_calls_stop_at_the_most_time() -> None:
    clock = Clock()
    (found,) = timed(FakeSession(clock, (1000.0,)), protocol=Protocol(max_seconds=12.0))
    assert found.repeats == 8


def test_an_unsteady_model_is_measured_longer() -> None:
    steady, unsteady = Clock(), Clock()
    (one,) = timed(FakeSession(steady, (1.0,)))
    (other,) = timed(FakeSession(unsteady, tuple(1.0 + 0.5 * (n % 5) for n in range(100_000))))
    assert other.repeats > one.repeats
    assert other.spread > 0.2


def test_p95_and_spread_are_those_of_the_calls() -> None:
    # Of the 8 counted calls of a block one takes 9 ms: p95 is among those, the quartiles are not.
    times = tuple(9.0 if n % 10 == 5 else 1.0 for n in range(100_000))
    (found,) = timed(FakeSession(Clock(), times))
    assert (found.value, found.p95, found.spread) == (1.0, 9.0, 0.0)


def test_models_take_turns() -> None:
    clock = Clock()
    found = timed(FakeSession(clock, (1.0,), "a"), FakeSession(clock, (3.0,), "b"))
    counted = clock.order[found[0].warmup + found[1].warmup :]
    rounds = ["".join(counted[n : n + 20]) for n in range(0, len(counted), 20)]
    assert {"a" * 10 + "b" * 10, "b" * 10 + "a" * 10} == set(rounds)
    assert [m.value for m in found] == [1.0, 3.0]


def test_the_first_calls_of_a_turn_do_not_count() -> None:
    # After the other model's turn the caches are cold for two calls.
    times = (1.0,) * 10 + ((7.0,) * 2 + (1.0,) * 8) * 1000
    (found,) = timed(FakeSession(Clock(), times))
    assert (found.warmup, found.value, found.p95) == (10, 1.0, 1.0)


def test_the_batch_is_filled_from_the_example() -> None:
    session = FakeSession(Clock(), (1.0,))
    latencies([session], np.arange(6, dtype=np.float32).reshape(2, 3), 5, QUICK, session.clock)
    assert session.shapes == {(5, 3)}


def test_a_batch_repeats_the_example_in_order() -> None:
    example = np.array([[1.0], [2.0]], np.float32)
    assert batch_of(example, 5).ravel().tolist() == [1, 2, 1, 2, 1]
    assert batch_of(example, 1).ravel().tolist() == [1]


def test_a_real_clock_runs() -> None:
    @dataclass
    class Real:
        threads: int = 1
        runtime: str = "numpy"

        def run(self, inputs: np.ndarray) -> np.ndarray:
            return inputs

    found = latency(Real(), EXAMPLE, 1, 1, QUICK)
    assert found.value > 0
    assert found.repeats >= 10


def test_sessions_with_other_threads_cannot_be_compared() -> None:
    clock = Clock()
    with pytest.raises(
        BadValue, match=r"threads of the sessions must be equal, for at least one session, got \[1, 2\]"
    ):
        timed(FakeSession(clock, (1.0,)), FakeSession(clock, (1.0,), threads=2))


def test_no_session_is_too_few() -> None:
    with pytest.raises(BadValue, match=r"for at least one session, got \[\]"):
        latencies([], EXAMPLE)


def test_threads_must_be_those_of_the_session() -> None:
    with pytest.raises(BadValue, match="threads must be 2, as the session was opened, got 1"):
        latency(FakeSession(Clock(), (1.0,), threads=2), EXAMPLE, 1, 1)


def test_no_input_per_call_is_too_few() -> None:
    with pytest.raises(BadValue, match="batch_size must be at least 1, got 0"):
        latency(FakeSession(Clock(), (1.0,)), EXAMPLE, 0)


def test_an_empty_example_is_refused() -> None:
    with pytest.raises(BadValue, match=r"example must be at least one input, got \(0, 3\)"):
        latency(FakeSession(Clock(), (1.0,)), EXAMPLE[:0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_repeats": 1}, "min_repeats must be at least 2, to have a spread, got 1"),
        ({"min_seconds": 4.0}, "seconds must be from 0, the least not above the most, got"),
        ({"precision": 0.0}, "precision and steady must be above 0, got"),
        ({"settle": 10}, "settle must be 0 to 9, below the block, got 10"),
    ],
)
def test_a_protocol_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        Protocol(**options)  # type: ignore[arg-type]
