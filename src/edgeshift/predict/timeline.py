# SPDX-License-Identifier: Apache-2.0
"""Measured operators on a line of time: change some, replay the rest (Daydream, https://arxiv.org/abs/2006.03318)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from edgeshift.core.errors import BadValue

# What ONNX Runtime's profiler appends to the name of an operator's event.
SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class Task:
    """One operator's run.

    Attributes:
        name: Of the operator.
        op: Its type, such as "Conv".
        ms: How long it took, 0 or more.
        needs: Places of earlier tasks whose results it reads.
        gap_ms: What the runtime spends after it before the next one may start on the same thread.
        bits: Of the numbers it makes.
    """

    name: str
    op: str
    ms: float
    needs: tuple[int, ...] = ()
    gap_ms: float = 0.0
    bits: int = 32


@dataclass(frozen=True)
class Timeline:
    """Tasks in an order in which they can run, and what a call costs besides them.

    Attributes:
        tasks: The operators.
        call_ms: Of a whole call, minus all tasks and gaps.
    """

    tasks: tuple[Task, ...]
    call_ms: float = 0.0

    def check(self) -> "Timeline":
        """Self, or BadValue."""
        for place, task in enumerate(self.tasks):
            if not task.ms >= 0 or not task.gap_ms >= 0:
                raise BadValue(f"ms of {task.name}", (task.ms, task.gap_ms), "0 or more")
            if any(not 0 <= need < place for need in task.needs):
                raise BadValue(f"needs of {task.name}", task.needs, "places of earlier tasks")
        return self

    @property
    def total_ms(self) -> float:
        """Tasks, gaps and the call, one after the other."""
        return self.call_ms + sum(task.ms + task.gap_ms for task in self.tasks)


def replay(timeline: Timeline, streams: int = 1) -> float:
    """How long a call takes, in ms, if operators start as soon as their inputs and a stream are there.

    A list scheduler: of all tasks that are ready, the one that can start first runs next; ties go to the earlier.

    Args:
        timeline: What to run.
        streams: Operators that may run side by side, 1 or more.

    Raises:
        BadValue: If `streams` is below 1, or the timeline is malformed.
    """
    if streams < 1:
        raise BadValue("streams", streams, "at least 1")
    tasks = timeline.check().tasks
    free = [0.0] * streams
    end: dict[int, float] = {}
    waiting = list(range(len(tasks)))
    while waiting:
        best: tuple[float, int, int] | None = None
        for place in waiting:
            if all(need in end for need in tasks[place].needs):
                ready = max((end[need] for need in tasks[place].needs), default=0.0)
                stream = min(range(streams), key=lambda s: (max(free[s], ready), s))
                start = max(free[stream], ready)
                if best is None or start < best[0]:
                    best = start, place, stream
        assert best is not None
        start, place, stream = best
        end[place] = start + tasks[place].ms
        free[stream] = end[place] + tasks[place].gap_ms
        waiting.remove(place)
    return timeline.call_ms + max([*end.values(), *free], default=0.0)


def scaled(timeline: Timeline, factor: Callable[[Task], float]) -> Timeline:
    """The same tasks, each as many times as long as `factor` says."""
    return replace(timeline, tasks=tuple(replace(task, ms=task.ms * factor(task)) for task in timeline.tasks))


def without(timeline: Timeline, gone: Callable[[Task], bool]) -> Timeline:
    """The tasks that stay; who read what is gone reads what that one read."""
    stands_for: list[tuple[int, ...]] = []
    kept: list[Task] = []
    for task in timeline.tasks:
        needs = tuple(dict.fromkeys(n for need in task.needs for n in stands_for[need]))
        if gone(task):
            stands_for.append(needs)
        else:
            stands_for.append((len(kept),))
            kept.append(replace(task, needs=needs))
    return replace(timeline, tasks=tuple(kept))


def inserted(timeline: Timeline, after: int, task: Task) -> Timeline:
    """A new task that reads the one at `after` and is read by all that read it.

    Raises:
        BadValue: If there is no task at `after`.
    """
    if not 0 <= after < len(timeline.tasks):
        raise BadValue("after", after, f"0 to {len(timeline.tasks) - 1}")
    moved = []
    for place, old in enumerate(timeline.tasks):
        needs = tuple(after + 1 if n == after else n + (n > after) for n in old.needs)
        moved.append(old if place <= after else replace(old, needs=needs))
    fresh = replace(task, needs=(after,))
    return replace(timeline, tasks=(*moved[: after + 1], fresh, *moved[after + 1 :]))


def profiled(
    events: Sequence[Mapping[str, Any]],
    unprofiled_ms: float,
    skip: int = 5,
    only: Sequence[int] | None = None,
) -> Timeline:
    """The timeline in what ONNX Runtime's profiler wrote: medians over the calls, in order of execution.

    The profiler itself costs time; all tasks are scaled alike so that they, and what lies between them, add up to a
    call without it.

    Args:
        events: The list in the profiler's JSON file.
        unprofiled_ms: Median of a call without the profiler, above 0.
        skip: First calls that do not count.
        only: Places of the calls that count, instead of all after `skip`.

    Raises:
        BadValue: If there are no operators, fewer calls than `skip`, or calls differ in their operators.
    """
    operators = sorted(
        (e for e in events if e["cat"] == "Node" and str(e["name"]).endswith(SUFFIX)), key=lambda e: e["ts"]
    )
    runs = sorted((e for e in events if e["name"] == "model_run"), key=lambda e: e["ts"])
    wanted = range(skip, len(runs)) if only is None else only
    calls: list[list[Mapping[str, Any]]] = []
    for run in (runs[place] for place in wanted):
        calls.append([e for e in operators if run["ts"] <= e["ts"] <= run["ts"] + run["dur"]])
    spans = [runs[place]["dur"] / 1000 for place in wanted]
    if not calls or not calls[0]:
        raise BadValue("profile", f"{len(runs)} calls", f"one of more than {skip} calls with operators")
    names = [str(e["name"]) for e in calls[0]]
    if any([str(e["name"]) for e in call] != names for call in calls):
        raise BadValue("profile", "calls with other operators", "one model in one thread")
    tasks = []
    whole = median(spans)
    share = unprofiled_ms / whole
    for place, column in enumerate(zip(*calls, strict=True)):
        ms = mean_of_middle([e["dur"] / 1000 for e in column]) * share
        needs = (place - 1,) if place else ()
        tasks.append(
            Task(names[place].removesuffix(SUFFIX), str(column[0]["args"].get("op_name", "")), ms, needs)
        )
    rest = max(0.0, unprofiled_ms - sum(task.ms for task in tasks))
    gap = rest / (len(tasks) + 1)
    return Timeline(tuple(replace(task, gap_ms=gap) for task in tasks), gap).check()


def mean_of_middle(values: Sequence[float]) -> float:
    """Mean of the middle half: the profiler counts whole microseconds, which a median would keep."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return sum(middle) / len(middle)


def read_profile_events(text: str) -> list[dict[str, Any]]:
    """Events of a profiler's file.

    Raises:
        BadValue: If it is no list of events.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadValue("profile", text[:40], "JSON") from error
    if not isinstance(found, list) or not all(
        isinstance(e, dict) and {"cat", "name", "ts", "dur"} <= set(e) for e in found
    ):
        raise BadValue("profile", type(found).__name__, "a list of events with cat, name, ts and dur")
    return found
