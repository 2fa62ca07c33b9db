# SPDX-License-Identifier: Apache-2.0
"""Requests, switches, admission, failures: every request ends, and every answer is that of the variant it names."""

import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import BadValue, Rejected, UnknownName, VariantFailed
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Answer, Engine, Switcher
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.queue import Request
from edgeshift.runtime.state import Ladder
from tests.portfolio.made import INPUT, draft
from tests.runtime.made import DIE, HANG, RAISE, Faulty, Stay, Want, expected, files, first, ladder


def wait_for(true: object) -> None:
    """Until a background thread has done its work; fails after 30 s."""
    end = time.monotonic() + 30
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.002)


@contextmanager
def serving(
    three: Portfolio, policy: Policy | str, backend: Any = "onnxruntime", **options: Any
) -> Iterator[Switcher]:
    """A switcher over a portfolio; `isolated` and `mode` go to the engine."""
    mine = {name: options.pop(name) for name in ("isolated", "mode", "memory_limit_bytes") if name in options}
    with (
        Engine(three.path, backend=backend, **mine) as engine,
        Switcher(engine, policy, **options) as switcher,
    ):
        yield switcher


def right(answer: Answer, inputs: Any = INPUT) -> bool:
    """Whether an answer is that of the variant it names."""
    return np.array_equal(answer.outputs["output"], expected(answer.variant, inputs))


def test_it_starts_with_the_fastest(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        answer = switcher.run(INPUT)
    assert answer.variant == "small"
    assert right(answer)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_policy_chooses(three: Portfolio, index: int) -> None:
    with serving(three, Want(lambda state: index)) as switcher:
        answer = switcher.run(INPUT)
        assert answer.variant == ("small", "middle", "large")[index]
        assert right(answer)
        assert switcher.active.index == index


def test_a_named_variant_answers_and_the_active_one_stays(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        answer = switcher.run(INPUT, variant="large")
        assert (answer.variant, switcher.active.profile.name) == ("large", "small")
        assert right(answer)


def test_a_switch_is_an_event_with_its_cause(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        switcher.switch("large")
        switcher.switch("middle", cause="heat")
        switcher.switch("middle")
        said = [(e.number, e.from_, e.to, e.cause, e.generation) for e in switcher.events()]
        assert said == [(1, "small", "large", "manual", 0), (2, "large", "middle", "heat", 0)]
        assert [e.number for e in switcher.events(since=1)] == [2]
        assert switcher.run(INPUT).variant == "middle"


def test_the_policy_may_move_on_after_a_switch_but_not_from_a_pin(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 0)) as switcher:
        switcher.switch("large")
        assert switcher.run(INPUT).variant == "small"
        switcher.pin("middle")
        assert [switcher.run(INPUT).variant for _ in range(3)] == ["middle"] * 3
        assert switcher.pinned == "middle"
        switcher.pin(None)
        assert switcher.run(INPUT).variant == "small"


def test_unknown_names_are_refused(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        for act in (switcher.switch, switcher.pin, lambda n: switcher.run(INPUT, variant=n)):
            with pytest.raises(UnknownName, match="no variant named 'huge'"):
                act("huge")
        assert switcher.snapshot().counts == {"bad_input": 1}


def test_wrong_inputs_are_refused_before_they_wait(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        with pytest.raises(BadValue, match="dtype of input must be float32, got 'float64'"):
            switcher.submit(INPUT.astype(np.float64))
        with pytest.raises(BadValue, match="deadline_ms must be above 0, got 0"):
            switcher.submit(INPUT, deadline_ms=0)
        assert switcher.snapshot().counts == {"bad_input": 2}


def test_a_request_the_policy_refuses_is_rejected(three: Portfolio) -> None:
    with serving(three, Want(lambda state: None)) as switcher:
        with pytest.raises(
            Rejected, match="request must have a deadline that can be met, got 5 ms"
        ) as caught:
            switcher.run(INPUT, deadline_ms=5)
        assert caught.value.code == "deadline"
        assert switcher.snapshot().counts == {"deadline": 1}


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A policy's function that lets no request through until it is opened."""

    def __init__(self) -> None:
        self.open, self.reached = threading.Event(), threading.Event()

    def __call__(self, state: Any) -> int:
        self.reached.set()
        assert self.open.wait(20)
        return 0


def test_a_full_queue_refuses_and_what_waits_is_answered(three: Portfolio) -> None:
    gate = Gate()
    with serving(three, Want(gate), queue_limit=2) as switcher:
        waiting = [switcher.submit(INPUT)]
        assert gate.reached.wait(20)
        waiting += [switcher.submit(INPUT), switcher.submit(INPUT)]
        with pytest.raises(Rejected, match="waiting requests must be at most 2, got one more") as caught:
            switcher.submit(INPUT)
        assert caught.value.code == "queue_full"
        gate.open.set()
        assert all(right(future.result(20)) for future in waiting)
        assert switcher.snapshot().counts == {"queue_full": 1, "ok": 3}


def test_closing_answers_what_waits_and_refuses_what_comes(three: Portfolio) -> None:
    gate = Gate()
    with serving(three, Want(gate)) as switcher:
        waiting = [switcher.submit(INPUT) for _ in range(5)]
        gate.open.set()
    assert [right(future.result(0)) for future in waiting] == [True] * 5
    with pytest.raises(Rejected, match="switcher must be open for a request, got a closed one") as caught:
        switcher.submit(INPUT)
    assert caught.value.code == "closed"


def test_a_request_whose_deadline_passed_in_the_queue_is_rejected(three: Portfolio) -> None:
    gate, clock = Gate(), Clock()
    with serving(three, Want(gate), now=clock) as switcher:
        first_one = switcher.submit(INPUT)
        assert gate.reached.wait(20)
        late, named = (
            switcher.submit(INPUT, deadline_ms=100),
            switcher.submit(INPUT, deadline_ms=100, variant="large"),
        )
        patient = switcher.submit(INPUT)
        clock.now += 0.2
        gate.open.set()
        assert right(first_one.result(20))
        assert right(patient.result(20))
        for future in (late, named):
            with pytest.raises(Rejected, match="got 100 ms"):
                future.result(20)


def test_after_the_machine_slept_the_queue_is_flushed(three: Portfolio) -> None:
    gate, clock = Gate(), Clock()
    with serving(three, Want(gate), now=clock) as switcher:
        running = switcher.submit(INPUT)
        assert gate.reached.wait(20)
        waiting = [switcher.submit(INPUT) for _ in range(3)]
        clock.now += 3600
        gate.open.set()
        assert right(running.result(20))
        for future in waiting:
            with pytest.raises(Rejected, match="request must have the machine to stay awake, got a gap of"):
                future.result(20)
        assert right(switcher.run(INPUT))


def test_what_the_policy_is_told(three: Portfolio) -> None:
    clock, policy = Clock(), Want(lambda state: 1)
    with serving(three, policy, now=clock, deadline_ms=50) as switcher:
        for _ in range(3):
            switcher.run(INPUT)
            clock.now += 0.5
    first_one, _, third = policy.seen
    assert (first_one.active, first_one.deadline_s, first_one.queued, first_one.memory) == (0, 0.05, 0, ())
    assert first_one.since_switch_s == first_one.slowdown_age_s == float("inf")
    assert (third.active, third.since_switch_s, third.memory) == (1, 1.0, (1.0, 1.0))
    # 1 + e^-0.5 + e^-1: three arrivals half a second apart, each fading over a second.
    assert third.rate == pytest.approx(1.9744, abs=1e-4)


def broken(state: Any) -> int:
    raise RuntimeError("a policy's bug")


@pytest.mark.parametrize("say", [broken, lambda state: 3, lambda state: -1])
def test_with_a_broken_policy_the_safe_variant_answers(three: Portfolio, say: Any) -> None:
    with serving(three, Want(say)) as switcher:
        switcher.switch("large")
        assert right(switcher.run(INPUT))
        assert switcher.active.profile.name == "small"
        assert switcher.events()[-1].cause == "policy failed"
        assert switcher.snapshot().alarms == 1


def test_a_variant_that_always_raises_is_retried_smaller_quarantined_and_comes_back(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 2), Faulty(from_scale=3, good_runs=4)) as switcher:
        assert switcher.run(INPUT).variant == "large"
        answer = switcher.run(INPUT)
        assert answer.variant == "middle"
        assert right(answer)
        assert switcher.snapshot().variants[2].quarantined != ""
        with pytest.raises(VariantFailed, match="variant large must be out of quarantine"):
            switcher.run(INPUT, variant="large")
        with pytest.raises(VariantFailed, match="variant large must be out of quarantine"):
            switcher.switch("large")
        wait_for(lambda: switcher.snapshot().variants[2].quarantined == "")
        assert switcher.run(INPUT).variant == "large"
        causes = [event.cause for event in switcher.events()]
        assert causes == ["told", "failed: large", "retry", "recovered: large", "told"]
        assert switcher.snapshot().alarms == 1


def test_a_request_that_a_sound_variant_cannot_answer_closes_it_for_nobody(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 2), Faulty(from_scale=3)) as switcher:
        assert switcher.run(first(RAISE)).variant == "middle"
        assert switcher.run(INPUT).variant == "large"
        assert [event.cause for event in switcher.events()] == ["told", "raised: large"]
        assert switcher.snapshot().variants[2].failures == 1


def test_a_request_that_no_variant_can_answer_fails_and_is_counted(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 2), Faulty(from_scale=1)) as switcher:
        with pytest.raises(VariantFailed, match="model must answer, got told not to"):
            switcher.run(first(RAISE))
        assert right(switcher.run(INPUT))
        assert switcher.snapshot().counts == {"variant_failed": 1, "ok": 1}


def test_a_named_variant_that_fails_is_not_replaced_by_another(three: Portfolio) -> None:
    with (
        serving(three, Stay(), Faulty(from_scale=3)) as switcher,
        pytest.raises(VariantFailed, match="got told not to; there is no other to ask"),
    ):
        switcher.run(first(RAISE), variant="large")


@pytest.mark.parametrize(
    "value", [HANG, pytest.param(DIE, marks=pytest.mark.slow), pytest.param(RAISE, marks=pytest.mark.slow)]
)
def test_isolated_a_variant_that_hangs_dies_or_raises_costs_no_request(tmp_path: Path, value: float) -> None:
    two = ladder(tmp_path / "p", ("small", "large"))
    with serving(two, Want(lambda state: 1), Faulty(from_scale=3), isolated=True) as switcher:
        assert switcher.run(INPUT).variant == "large"
        answer = switcher.run(first(value))
        assert answer.variant == "small"
        assert right(answer, first(value))
        assert switcher.snapshot().alarms == 1
        wait_for(lambda: switcher.snapshot().variants[1].quarantined == "")
        assert switcher.run(INPUT).variant == "large"
        assert switcher.snapshot().counts == {"ok": 3}


def test_a_request_goes_down_the_ladder_until_a_variant_answers(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 2), Faulty(from_scale=2)) as switcher:
        answer = switcher.run(first(RAISE))
        assert answer.variant == "small"
        assert right(answer, first(RAISE))
        found = switcher.snapshot()
        assert {v.name: v.failures for v in found.variants} == {"small": 0, "middle": 1, "large": 1}
        assert found.counts == {"ok": 1}


def test_a_pinned_variant_answers_again_once_it_recovered(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        switcher.pin("large")
        switcher._quarantine.add(switcher.active, "told to")
        assert switcher.run(INPUT).variant == "middle"
        assert switcher.pinned == "large"
        wait_for(lambda: switcher.run(INPUT).variant == "large")
        assert [event.cause for event in switcher.events()] == ["pin", "pin", "recovered: large", "pin"]


# The large variant's p95 is 5 ms and the middle one's 2.5 ms. It hangs after 250 ms, or 20 times 5 if that is longer;
# 4 times 2.5 and 20 ms before the deadline the middle one can still answer.
@pytest.mark.parametrize(
    ("index", "deadline_s", "named", "slowdown", "limit_s"),
    [
        (2, math.inf, None, 1.0, 0.25),
        (2, 10.0, None, 1.0, 0.25),
        (2, 0.2, None, 1.0, 0.17),
        (2, 0.1, None, 1.0, 0.07),
        (2, 0.079, None, 1.0, 0.25),  # in less than 50 ms any process may be kept waiting
        (2, 0.2, "large", 1.0, 0.25),  # nobody else may answer
        (0, 0.2, None, 1.0, 0.25),
        (2, 0.2, None, 3.0, 0.15),
        (2, 0.2, None, 8.0, 0.8),  # 0.1 s is less than 5 times its p95: it is slow, and may be in time
        (2, 10.0, None, 8.0, 0.8),
        (2, 0.2, None, 0.1, 0.17),
    ],
)
def test_a_hang_is_given_up_while_a_smaller_one_can_still_answer(
    three: Portfolio,
    monkeypatch: pytest.MonkeyPatch,
    index: int,
    deadline_s: float,
    named: str | None,
    slowdown: float,
    limit_s: float,
) -> None:
    with serving(three, Stay()) as switcher:
        monkeypatch.setattr(switcher.engine, "isolated", True)
        switcher._slowdown.value = slowdown
        ready = switcher.engine.ready(index)
        profiles = [replace(p, p95_ms=1.25 * p.latency_ms) for p in switcher.engine.ladder.profiles]
        monkeypatch.setattr(switcher.engine._opened, "ladder", Ladder(tuple(profiles)))
        request = Request({}, 100.0, deadline_s, named, Future())
        found = switcher._limit_s(replace(ready, profile=profiles[index]), request, 100.0)
        assert found == pytest.approx(limit_s)


def test_in_this_process_nothing_can_stop_a_variant(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        request = Request({}, 100.0, 0.2, None, Future())
        assert switcher._limit_s(switcher.engine.ready(2), request, 100.0) == math.inf


def test_what_is_not_in_memory_is_opened_while_a_smaller_one_answers(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 2), mode="demand") as switcher:
        assert switcher.run(INPUT).variant == "small"
        wait_for(lambda: switcher.run(INPUT).variant == "large")
        assert switcher.active.index == 2


def test_out_of_memory_the_smaller_variant_keeps_serving(three: Portfolio) -> None:
    with serving(three, Want(lambda state: 2), mode="demand", memory_limit_bytes=1600) as switcher:
        assert switcher.run(INPUT).variant == "small"
        wait_for(lambda: switcher.events())
        assert [event.cause for event in switcher.events()] == ["unopened: large"]
        assert switcher.run(INPUT).variant == "small"
        assert "out of memory" in switcher.snapshot().variants[2].quarantined


def test_reload_and_rollback_keep_the_active_variant_where_it_exists(tmp_path: Path) -> None:
    made = ladder(tmp_path / "p", ("small", "middle")).publish()
    with serving(made, Stay()) as switcher:
        switcher.switch("middle")
        made.add(draft("large", 0.95, 4.0), files("large")).publish()
        assert switcher.reload() == 2
        assert (switcher.run(INPUT).variant, switcher.run(INPUT).generation) == ("middle", 2)
        switcher.switch("large")
        assert switcher.rollback() == 1
        assert (switcher.run(INPUT).variant, switcher.run(INPUT).generation) == ("small", 1)
        assert [event.cause for event in switcher.events()] == ["manual", "reload", "manual", "rollback"]


def test_a_reload_that_is_refused_is_an_alarm_and_changes_nothing(three: Portfolio) -> None:
    with serving(three, Stay()) as switcher:
        (three.path / "portfolio.json").write_text("{}")
        with pytest.raises(ValueError, match="must be a manifest of format 1"):
            switcher.reload()
        assert right(switcher.run(INPUT))
        assert switcher.snapshot().alarms == 1


def test_a_snapshot_is_json(three: Portfolio) -> None:
    with serving(three, Stay(), deadline_ms=10_000) as switcher:
        before = switcher.snapshot()
        assert str(before.effective_accuracy) == "nan"
        switcher.run(INPUT)
        switcher.run(INPUT, variant="large")
        found = switcher.snapshot()
    json.dumps(asdict(found))
    assert [(v.name, v.requests, v.ready) for v in found.variants] == [
        ("small", 1, True),
        ("middle", 0, True),
        ("large", 1, True),
    ]
    assert (found.active, found.offered, found.slo_miss, found.in_flight, found.queue) == (
        "small",
        2,
        0,
        0,
        0,
    )
    assert found.effective_accuracy == pytest.approx((0.8 + 0.95) / 2)
    assert set(found.latency_ms) == {"p50", "p90", "p95", "p99"}


def test_a_cancelled_request_is_not_computed(three: Portfolio) -> None:
    gate = Gate()
    with serving(three, Want(gate)) as switcher:
        running = switcher.submit(INPUT)
        assert gate.reached.wait(20)
        waiting = switcher.submit(INPUT)
        assert waiting.cancel()
        gate.open.set()
        assert right(running.result(20))
    assert switcher.snapshot().counts == {"ok": 1}


def test_switched_from_four_threads_every_answer_is_that_of_the_variant_it_names(three: Portfolio) -> None:
    wrong: list[Answer] = []
    names = ("small", "middle", "large")

    def shake(seed: int) -> None:
        for step in range(150):
            switcher.switch(names[(step * 7 + seed) % 3])
            answer = switcher.run(INPUT)
            if not right(answer):
                wrong.append(answer)

    with serving(three, Stay(), workers=2) as switcher:
        threads = [threading.Thread(target=shake, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert switcher.snapshot().counts == {"ok": 600}
        events = switcher.events()
        assert all(e.to == later.from_ for e, later in pairwise(events))
        assert [e.number for e in events] == list(range(1, len(events) + 1))
