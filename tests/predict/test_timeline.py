# SPDX-License-Identifier: Apache-2.0
"""Replays of timelines that were solved by hand."""

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.predict.timeline import (
    Task,
    Timeline,
    inserted,
    profiled,
    read_profile_events,
    replay,
    scaled,
    without,
)

# a -> b, c; b, c -> d; e alone; f reads e.
SIX = Timeline(
    (
        Task("a", "Conv", 2),
        Task("b", "Conv", 3, (0,)),
        Task("c", "Pool", 1, (0,)),
        Task("d", "Add", 1, (1, 2)),
        Task("e", "Conv", 4),
        Task("f", "Gemm", 2, (4,)),
    ),
    call_ms=0.5,
)


def test_one_stream_takes_the_sum() -> None:
    assert replay(SIX) == SIX.total_ms == 13.5


def test_two_streams_run_side_by_side() -> None:
    # Stream 1: a 0-2, b 2-5, d 6-7. Stream 2: e 0-4, c 4-5, f 5-7.
    assert replay(SIX, 2) == 7.5


def test_a_gap_keeps_its_stream_busy() -> None:
    assert replay(Timeline((Task("a", "Conv", 1, gap_ms=0.25), Task("b", "Conv", 1)))) == 2.25


def test_scaling_changes_what_is_chosen() -> None:
    halved = scaled(SIX, lambda task: 0.5 if task.op == "Conv" else 1)
    assert replay(halved) == 13.5 - 4.5


def test_readers_of_a_removed_task_read_what_it_read() -> None:
    left = without(SIX, lambda task: task.name in "bc")
    assert [task.name for task in left.tasks] == ["a", "d", "e", "f"]
    assert [task.needs for task in left.tasks] == [(), (0,), (), (2,)]


def test_an_inserted_task_stands_between() -> None:
    found = inserted(SIX, 0, Task("q", "QuantizeLinear", 0.5))
    assert [task.needs for task in found.tasks] == [(), (0,), (1,), (1,), (2, 3), (), (5,)]
    assert replay(found) == 14.0


def test_inserting_after_nothing_is_refused() -> None:
    with pytest.raises(BadValue, match="after must be 0 to 5, got 6"):
        inserted(SIX, 6, Task("q", "Relu", 1))


def test_a_task_that_needs_itself_is_refused() -> None:
    with pytest.raises(BadValue, match=r"needs of a must be places of earlier tasks, got \(0,\)"):
        replay(Timeline((Task("a", "Conv", 1, (0,)),)))


def events(*durations: tuple[int, int]) -> list[dict[str, object]]:
    """Calls of two operators each, in microseconds."""
    found: list[dict[str, object]] = []
    at = 0
    for first, second in durations:
        found.append({"cat": "Session", "name": "model_run", "ts": at, "dur": first + second + 10})
        for name, start, took in (("a", at + 2, first), ("b", at + 4 + first, second)):
            found.append(
                {
                    "cat": "Node",
                    "name": f"{name}_kernel_time",
                    "ts": start,
                    "dur": took,
                    "args": {"op_name": "Conv"},
                }
            )
        at += 1000
    return found


def test_a_profile_adds_up_to_a_call_without_the_profiler() -> None:
    line = profiled(events((99, 1), (60, 30), (60, 30)), unprofiled_ms=0.05, skip=1)
    assert [task.ms for task in line.tasks] == pytest.approx([0.03, 0.015])
    assert line.total_ms == pytest.approx(0.05)


def test_only_the_calls_that_count_are_looked_at() -> None:
    line = profiled(events((99, 1), (60, 30), (10, 10)), unprofiled_ms=0.1, only=[1])
    assert [task.ms for task in line.tasks] == pytest.approx([0.06, 0.03])


def test_a_profile_without_calls_is_refused() -> None:
    with pytest.raises(
        BadValue, match="profile must be one of more than 5 calls with operators, got '1 calls'"
    ):
        profiled(events((1, 1)), unprofiled_ms=1)


def test_text_that_is_no_profile_is_refused() -> None:
    with pytest.raises(BadValue, match="profile must be a list of events"):
        read_profile_events('{"cat": 1}')
