# SPDX-License-Identifier: Apache-2.0
"""Answers requests and shifts between variants meanwhile: queue, workers, policy, admission, sensors, events.

A switch replaces one immutable reference. A request reads it once and finishes on the variant it began with, so
an answer never mixes two.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, EdgeShiftError, Rejected, UnknownName, VariantFailed
from edgeshift.core.registry import Shelf
from edgeshift.runtime.answer import Answer
from edgeshift.runtime.books import Books, Entry, Event, Snapshot, VariantState, percentiles
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.load import Load
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.queue import Line, Request
from edgeshift.runtime.ready import Ready
from edgeshift.runtime.senses import Senses
from edgeshift.runtime.state import Decision, State

POLICIES = Shelf("policy", "runtime/policies")
# A gap this long between two looks at the clock is no load: the machine slept, and so did the clients.
SLEPT_S = 5.0


def clock() -> float:
    """Seconds that never go back and go on while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, eq=False)
class Active:
    """What answers now.

    Attributes:
        ready: The variant.
        since_s: Since when.
    """

    ready: Ready
    since_s: float


class Switcher:
    """Serves an engine's variants; use it in a `with` block."""

    def __init__(
        self,
        engine: Engine,
        policy: str | Policy = "deadline",
        *,
        deadline_ms: float | None = None,
        sensors: Sequence[str] = (),
        sensor_root: Path = Path("/"),
        workers: int = 1,
        queue_limit: int = 256,
        seed: int = 0,
        now: Callable[[], float] = clock,
    ) -> None:
        """Start the workers.

        Args:
            engine: What answers; it stays the caller's to close.
            policy: Name of a file in `runtime/policies`, or a policy.
            deadline_ms: For requests that bring none; None = they have none.
            sensors: Names of files in `runtime/sensors`, read every second.
            sensor_root: Where their `/sys` and `/proc` are.
            workers: Requests computed at the same time.
            queue_limit: Requests that may wait.
            seed: Of a policy that has a field `seed`.
            now: Seconds that never go back; another clock for tests.

        Raises:
            BadValue: If an option is out of range.
            UnknownName: If there is no such policy or sensor.
        """
        if workers < 1:
            raise BadValue("workers", workers, "at least 1")
        self.engine = engine
        self._policy = made(policy, seed)
        self._default_s = seconds(deadline_ms)
        self._now = now
        self._start_s = self._seen_s = now()
        self._line = Line(queue_limit)
        self._queue_limit = queue_limit
        self._books = Books()
        self._load = Load()
        self._memory: tuple[float, ...] = ()
        self._pinned: str | None = None
        self._quarantine: dict[str, str] = {}
        self._in_flight = 0
        self._deciding = threading.Lock()
        self._switching = threading.Lock()
        self._switched_s = -math.inf
        self._active = Active(next(r for r in ready_ones(engine)), self._start_s)
        self._senses = Senses(tuple(sensors), sensor_root, now, self._tick)
        self._workers = [
            threading.Thread(target=self._work, name=f"edgeshift-{i}", daemon=True) for i in range(workers)
        ]
        self._senses.start()
        for worker in self._workers:
            worker.start()

    def submit(
        self,
        inputs: Mapping[str, NDArray[Any]] | NDArray[Any],
        *,
        deadline_ms: float | None = None,
        variant: str | None = None,
    ) -> "Future[Answer]":
        """The answer to come; its exception is Rejected or VariantFailed.

        Args:
            inputs: Every input by name, or the array of the only one; not to be changed before the answer.
            deadline_ms: From now to the answer; None = the switcher's own.
            variant: Name or id of the variant that must answer; None = the policy chooses.

        Raises:
            BadValue: If the inputs are not what the model takes, or the deadline is not above 0.
            Rejected: If the queue is full or the switcher closed.
            UnknownName: If there is no such variant.
        """
        try:
            checked = self.engine.check(inputs)
            if variant is not None:
                self.engine.index_of(variant)
            limit_s = self._default_s if deadline_ms is None else seconds(deadline_ms)
        except (BadValue, UnknownName):
            self._books.counted("bad_input")
            raise
        now = self._now()
        future: Future[Answer] = Future()
        try:
            self._line.put(Request(checked, now, limit_s, variant, future))
        except Rejected as error:
            self._books.finished(error.code, Entry(now, "", 0.0, 0.0, False, 0.0))
            raise
        self._load.arrived(now)
        return future

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]] | NDArray[Any],
        *,
        deadline_ms: float | None = None,
        variant: str | None = None,
    ) -> Answer:
        """The answer; see `submit`, and it raises what the answer would."""
        return self.submit(inputs, deadline_ms=deadline_ms, variant=variant).result()

    def switch(self, name: str, cause: str = "manual") -> None:
        """Make a variant active; the policy may move on with the next request.

        Raises:
            UnknownName: If there is no such variant.
            VariantFailed: If it cannot be opened or is in quarantine.
        """
        index = self.engine.index_of(name)
        quarantined = self._quarantine.get(self.engine.ladder[index].id)
        if quarantined:
            raise VariantFailed(f"variant {name} must be out of quarantine, got: {quarantined}")
        self._activate(self.engine.ready(index), cause)

    def pin(self, name: str | None) -> None:
        """Keep to one variant without asking the policy; None = ask it again.

        Raises:
            UnknownName: If there is no such variant.
            VariantFailed: If it cannot be opened or is in quarantine.
        """
        if name is not None:
            self.switch(name, "pin")
            name = self.engine.ladder[self.engine.index_of(name)].name
        self._pinned = name

    def reload(self) -> int:
        """Open what the folder holds now; returns the generation. See `Engine.reload`."""
        return self._renewed(self.engine.reload, "reload")

    def rollback(self) -> int:
        """Go back to the generation before; returns it. See `Engine.rollback`."""
        return self._renewed(self.engine.rollback, "rollback")

    def _renewed(self, act: Callable[[], int], cause: str) -> int:
        try:
            generation = act()
        except EdgeShiftError:
            self._books.alarm()
            raise
        with self._deciding:
            before = self._active.ready.profile
            ladder = self.engine.ladder
            same = [i for i, p in enumerate(ladder.profiles) if before.id == p.id]
            alike = [i for i, p in enumerate(ladder.profiles) if before.name == p.name]
            found = [i for i in (*same, *alike) if self.engine.is_ready(i)]
            self._quarantine.clear()
            self._memory = ()
            if self._pinned not in [p.name for p in ladder.profiles]:
                self._pinned = None
            ready = self.engine.ready(found[0]) if found else next(r for r in ready_ones(self.engine))
            self._activate(ready, cause)
        return generation

    def events(self, since: int = 0) -> tuple[Event, ...]:
        """What happened after event number `since`."""
        return self._books.events(since)

    @property
    def active(self) -> Ready:
        """The variant that answers now."""
        return self._active.ready

    def _activate(self, ready: Ready, cause: str) -> None:
        with self._switching:
            before = self._active.ready
            if before is ready:
                return
            now = self._now()
            self._active = Active(ready, now)
            self._switched_s = now
            self._books.happened(
                now - self._start_s, before.profile.name, ready.profile.name, cause, ready.generation
            )
        self.engine.focus(ready.index)

    def _tick(self) -> None:
        """A look at the clock; a gap means that the machine slept, and nobody waits for an answer."""
        now = self._now()
        gap, self._seen_s = now - self._seen_s, now
        if gap > SLEPT_S:
            for request in self._line.flush():
                self._reject(request, "the machine to stay awake", f"a gap of {gap:.1f} s")

    def _reject(self, request: Request, want: str, got: str) -> None:
        self._books.finished("deadline", Entry(self._now(), "", 0.0, 0.0, False, 0.0))
        request.future.set_exception(Rejected(f"request must have {want}, got {got}", code="deadline"))

    def _work(self) -> None:
        while (request := self._line.take()) is not None:
            if request.future.set_running_or_notify_cancel():
                self._serve(request)

    def _serve(self, request: Request) -> None:
        taken = self._now()
        if taken - self._seen_s > SLEPT_S:
            self._tick()
            self._reject(request, "the machine to stay awake", f"a gap of more than {SLEPT_S} s")
            return
        try:
            ready = self._chosen(request, taken)
            if ready is None:
                self._reject(request, "a deadline that can be met", f"{request.deadline_s * 1e3:.3g} ms")
                return
            answer = self._answered(request, ready, taken)
        except Exception as error:  # whatever it is, the request ends and the worker goes on
            failed = (
                error
                if isinstance(error, EdgeShiftError)
                else VariantFailed(f"answer must come, got: {error}")
            )
            self._books.finished("variant_failed", Entry(self._now(), "", 0.0, 0.0, False, 0.0))
            request.future.set_exception(failed)
            return
        request.future.set_result(answer)

    def _chosen(self, request: Request, now: float) -> Ready | None:
        """The variant that answers; None = the deadline cannot be met."""
        waited = now - request.arrived_s
        if waited > request.deadline_s:
            return None
        if request.variant is not None:
            return self.engine.ready(self.engine.index_of(request.variant))
        if self._pinned is not None:
            return self._active.ready
        with self._deciding:
            decision = self._decision(request, now, waited)
            if not decision.admit:
                return None
            ready = self._available(decision.variant)
            if ready is not self._active.ready:
                self._activate(ready, decision.cause)
            return ready

    def _decision(self, request: Request, now: float, waited: float) -> Decision:
        ladder = self.engine.ladder
        load = self._load
        state = State(
            now_s=now,
            active=min(self._active.ready.index, len(ladder) - 1),
            since_switch_s=now - self._switched_s,
            waited_s=waited,
            deadline_s=request.deadline_s,
            queued=len(self._line),
            rate=load.rate(now),
            slowdown=load.slowdown,
            slowdown_age_s=now - load.measured_s,
            recent_p95_s=load.recent_p95_s,
            sensors=self._senses.readings(),
            memory=self._memory,
        )
        try:
            decision = self._policy.choose(state, ladder)
            if not 0 <= decision.variant < len(ladder):
                raise BadValue("variant of a decision", decision.variant, f"0..{len(ladder) - 1}")
        except Exception as error:  # a policy that fails must not take the service with it
            self._books.alarm()
            return Decision(0, f"policy failed: {type(error).__name__}", memory=self._memory)
        self._memory = decision.memory
        return decision

    def _available(self, index: int) -> Ready:
        """The variant at an index, or the nearest smaller one that can answer, or the nearest larger one.

        Raises:
            VariantFailed: If none can.
        """
        ladder = self.engine.ladder
        for candidate in (*range(index, -1, -1), *range(index + 1, len(ladder))):
            if ladder[candidate].id in self._quarantine:
                continue
            try:
                return self.engine.ready(candidate)
            except VariantFailed as error:
                self._quarantined(candidate, str(error))
        raise VariantFailed(f"a variant must be out of quarantine, got {len(ladder)} in it")

    def _quarantined(self, index: int, why: str) -> None:
        profile = self.engine.ladder[index]
        self._quarantine[profile.id] = why
        self._books.failed(profile.name)
        name = self._active.ready.profile.name
        self._books.happened(
            self._now() - self._start_s, name, name, f"failed: {profile.name}", self.engine.generation
        )

    def _answered(self, request: Request, ready: Ready, taken: float) -> Answer:
        try:
            outputs = ready.run(request.inputs)
        except Exception as error:
            self._quarantined(ready.index, str(error))
            if request.variant is not None:
                raise
            ready = self._available(max(ready.index - 1, 0))
            outputs = ready.run(request.inputs)
        done = self._now()
        total, compute = done - request.arrived_s, done - taken
        profile = ready.profile
        self._load.served(done, compute, profile.latency_ms / 1e3, total)
        on_time = total <= request.deadline_s
        self._books.finished("ok", Entry(done, profile.name, total, compute, on_time, profile.accuracy))
        queue_ms = (taken - request.arrived_s) * 1e3
        return Answer(outputs, profile.name, profile.id, ready.generation, queue_ms, compute * 1e3)

    def snapshot(self) -> Snapshot:
        """Everything about this moment."""
        now = self._now()
        entries = self._books.last_minute(now)
        answered = [e for e in entries if e.variant]
        right = sum(e.accuracy for e in answered if e.on_time)
        books = self._books
        return Snapshot(
            active=self._active.ready.profile.name,
            pinned=self._pinned,
            policy=self._policy.card.name,
            generation=self.engine.generation,
            runtime=self.engine.runtime,
            variants=tuple(self._state_of(i, answered) for i in range(len(self.engine.ladder))),
            counts=dict(books.counts),
            queue=len(self._line),
            queue_limit=self._queue_limit,
            in_flight=self._in_flight,
            rate=self._load.rate(now),
            slowdown=self._load.slowdown,
            latency_ms=percentiles([e.total_s * 1e3 for e in answered]),
            slo_miss=sum(not e.on_time for e in answered),
            offered=len(entries),
            effective_accuracy=right / len(entries) if entries else math.nan,
            sensors={n: (r.value, r.age_s) for n, r in self._senses.readings().items()},
            sensor_failures=self._senses.failures,
            switches=books.switches,
            alarms=books.alarms,
            uptime_s=now - self._start_s,
        )

    def _state_of(self, index: int, answered: Sequence[Entry]) -> VariantState:
        profile = self.engine.ladder[index]
        ready = self.engine.ready(index) if self.engine.is_ready(index) else None
        return VariantState(
            name=profile.name,
            id=profile.id,
            accuracy=profile.accuracy,
            profiled_ms=profile.latency_ms,
            requests=self._books.requests[profile.name],
            failures=self._books.failures[profile.name],
            latency_ms=percentiles([e.compute_s * 1e3 for e in answered if e.variant == profile.name]),
            ready=ready is not None,
            quarantined=self._quarantine.get(profile.id, self.engine.failed.get(profile.name, "")),
            source=ready.source if ready else "",
            size_bytes=ready.size_bytes if ready else 0,
            load_ms=ready.load_ms if ready else 0.0,
            note=ready.note if ready else "",
        )

    def close(self) -> None:
        """Take no more requests, answer those that wait, stop the workers."""
        self._line.close()
        for worker in self._workers:
            worker.join()
        self._senses.stop()

    def __enter__(self) -> "Switcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def made(policy: str | Policy, seed: int) -> Policy:
    """A policy by name, with the seed if it has one; or the policy itself."""
    if isinstance(policy, Policy):
        return policy
    seeded = any(f.name == "seed" for f in fields(POLICIES.find(policy)))
    found: Policy = POLICIES.make(policy, **({"seed": seed} if seeded else {}))
    return found


def seconds(deadline_ms: float | None) -> float:
    """A deadline in seconds; inf for none.

    Raises:
        BadValue: If it is not above 0.
    """
    if deadline_ms is None:
        return math.inf
    if not deadline_ms > 0:
        raise BadValue("deadline_ms", deadline_ms, "above 0")
    return deadline_ms / 1e3


def ready_ones(engine: Engine) -> list[Ready]:
    """Variants in memory, the fastest first."""
    return [engine.ready(i) for i in range(len(engine.ladder)) if engine.is_ready(i)]
