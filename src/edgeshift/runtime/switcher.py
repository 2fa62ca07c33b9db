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
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, EdgeShiftError, Rejected, UnknownName, VariantFailed
from edgeshift.core.registry import Shelf
from edgeshift.formats import first_line
from edgeshift.runtime.answer import Answer
from edgeshift.runtime.books import SHORT_S, Books, Entry, Event, Snapshot, VariantState, percentiles
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.histogram import Histogram
from edgeshift.runtime.limits import sensors_of
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.quarantine import Quarantine
from edgeshift.runtime.queue import Line, Request
from edgeshift.runtime.ready import Ready
from edgeshift.runtime.recheck import Recheck
from edgeshift.runtime.senses import Senses
from edgeshift.runtime.signals import Rate, Recent, Slowdown
from edgeshift.runtime.state import Decision, State

POLICIES = Shelf("policy", "runtime/policies")
SENSORS = Shelf("sensor", "runtime/sensors")
# A variant in a process of its own hangs when a request takes this many times its 95th percentile, slowdown
# included, and at least this long.
HANG_TIMES, HANG_LEAST_S = 20.0, 0.25
# It is given up sooner where that leaves the time for a smaller variant to answer before the deadline: so many times
# that one's 95th percentile, and what burying a process takes on a loaded machine. Never before it took so many times
# its own and so long: such a machine stops a process for tens of milliseconds.
RETRY_TIMES, BURY_S = 4.0, 0.02
SOONEST_TIMES, SOONEST_S = 5.0, 0.05
# A gap this long between two looks at the clock is no load: the machine slept, and so did the clients.
SLEPT_S = 5.0
# Seconds between two checks of the variants in memory: 75 ms each for VGG-16, so a thousandth of the time.
RECHECK_S = 60.0
# Seconds that never go back and go on while the machine sleeps, where the system has such a clock.
clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


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
        recheck_s: float = RECHECK_S,
        seed: int = 0,
        now: Callable[[], float] = clock,
    ) -> None:
        """Start the workers.

        Args:
            engine: What answers; it stays the caller's to close.
            policy: Name of a file in `runtime/policies`, or a policy.
            deadline_ms: For requests that bring none; None = they have none.
            sensors: Names of files in `runtime/sensors`, read every second; those of the policy come on top.
            sensor_root: Where their `/sys` and `/proc` are.
            workers: Requests computed at the same time.
            queue_limit: Requests that may wait.
            recheck_s: Between two checks of the variants in memory, file and golden answer; inf = none.
            seed: Of a policy that has a field `seed`.
            now: Seconds that never go back; another clock for tests.

        Raises:
            BadValue: If an option is out of range.
            UnknownName: If there is no such policy or sensor.
        """
        if workers < 1:
            raise BadValue("workers", workers, "at least 1")
        if not recheck_s > 0:
            raise BadValue("recheck_s", recheck_s, "above 0")
        self.engine = engine
        self._policy = made(policy, seed)
        self._default_s = seconds(deadline_ms)
        self._now = now
        self._start_s = self._seen_s = now()
        self._line = Line(queue_limit)
        self._queue_limit = queue_limit
        self._books = Books()
        self._rate, self._slowdown, self._recent = Rate(), Slowdown(), Recent()
        self._memory: tuple[float, ...] = ()
        self._pinned: str | None = None
        self._in_flight: set[int] = set()
        self._signals = threading.Lock()
        self._deciding = threading.Lock()
        self._switching = threading.Lock()
        self._switched_s = -math.inf
        # What answers now: a switch replaces this reference, and a request reads it once.
        self._active = ready_ones(engine)[0]
        self._quarantine = Quarantine(engine, self._said)
        names = tuple(dict.fromkeys((*sensors, *sensors_of(self._policy))))
        self._senses = Senses({n: SENSORS.make(n) for n in names}, sensor_root, now, self._tick)
        self._workers = [
            threading.Thread(target=self._work, name=f"edgeshift-{i}", daemon=True) for i in range(workers)
        ]
        self._recheck: Recheck | None = None
        if recheck_s < math.inf:
            self._recheck = Recheck(
                engine,
                recheck_s,
                active=lambda: self._active,
                idle=self._idle,
                wrong=self._wrong,
                unchecked=self._unchecked,
            )
            self._recheck.start()
        engine.listen(self._unopened)
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
        now = self._tick()
        future: Future[Answer] = Future()
        try:
            self._line.put(Request(checked, now, limit_s, variant, future))
        except Rejected as error:
            self._books.finished(error.code, Entry(now, "", 0.0, 0.0, False, 0.0))
            raise
        with self._signals:
            self._rate.arrived(now)
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
        self._activate(self._named(index), cause)

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
        except EdgeShiftError as error:
            self.engine.tally.add(error)
            self._books.alarm()
            raise
        with self._deciding:
            before = self._active.profile
            ladder = self.engine.ladder
            same = [i for i, p in enumerate(ladder.profiles) if before.id == p.id]
            alike = [i for i, p in enumerate(ladder.profiles) if before.name == p.name]
            found = [i for i in (*same, *alike) if self.engine.is_ready(i)]
            self._quarantine.clear()
            self._memory = ()
            if self._pinned not in [p.name for p in ladder.profiles]:
                self._pinned = None
            ready = self.engine.ready(found[0]) if found else ready_ones(self.engine)[0]
            self._activate(ready, cause)
        return generation

    def events(self, since: int = 0) -> tuple[Event, ...]:
        """What happened after event number `since`."""
        return self._books.events(since)

    @property
    def active(self) -> Ready:
        """The variant that answers now."""
        return self._active

    @property
    def pinned(self) -> str | None:
        """Name of the pinned variant; None = the policy is asked."""
        return self._pinned

    def _activate(self, ready: Ready, cause: str) -> None:
        wished_s = time.perf_counter()
        with self._switching:
            before = self._active
            if before is ready:
                return
            self._active = ready
            now = self._switched_s = self._now()
            books = self._books
            books.happened(
                now - self._start_s, before.profile.name, ready.profile.name, cause, ready.generation
            )
            books.switch_s.add(time.perf_counter() - wished_s)
        self.engine.focus(ready.index)

    def _tick(self) -> float:
        """The time. A gap since the last look means that the machine slept, and nobody waits for an answer.

        Every request looks too: on a loaded machine one thread alone may be kept waiting for seconds.
        """
        now = self._now()
        gap, self._seen_s = now - self._seen_s, now
        if gap > SLEPT_S:
            for request in self._line.flush():
                self._reject(request, "the machine to stay awake", f"a gap of {gap:.1f} s")
        return now

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
        self._seen_s = taken
        mine = threading.get_ident()
        self._in_flight.add(mine)
        try:
            ready = self._chosen(request, taken)
            if ready is None:
                self._reject(request, "a deadline that can be met", f"{request.deadline_s * 1e3:.3g} ms")
                return
            answer = self._answered(request, ready, taken)
        except Exception as error:  # whatever it is, the request ends and the worker goes on
            ours = isinstance(error, EdgeShiftError)
            failed = error if ours else VariantFailed(f"variant must answer, got: {first_line(error)}")
            self._books.finished("variant_failed", Entry(self._now(), "", 0.0, 0.0, False, 0.0))
            request.future.set_exception(failed)
            return
        finally:
            self._in_flight.discard(mine)
        request.future.set_result(answer)

    def _chosen(self, request: Request, now: float) -> Ready | None:
        """The variant that answers; None = the deadline cannot be met."""
        waited = now - request.arrived_s
        if waited > request.deadline_s:
            return None
        if request.variant is not None:
            return self._named(self.engine.index_of(request.variant))
        if (pinned := self._pinned) is not None:
            return self._kept(pinned)
        with self._deciding:
            began_s = time.perf_counter()
            decision = self._decision(request, now, waited)
            self._books.decision_s.add(time.perf_counter() - began_s)
            if not decision.admit:
                return None
            ready = self._available(decision.variant)
            if ready is not self._active:
                self._activate(ready, decision.cause)
            return ready

    def _kept(self, pinned: str) -> Ready:
        """The pinned variant; one beside it for as long as it cannot answer.

        Raises:
            VariantFailed: If none can.
        """
        ready = self._active
        if ready.profile.name == pinned and not self._quarantine.why(ready.profile.id):
            return ready
        with self._deciding:
            ready = self._available(self.engine.index_of(pinned))
            if ready is not self._active:
                self._activate(ready, "pin")
            return ready

    def _decision(self, request: Request, now: float, waited: float) -> Decision:
        ladder = self.engine.ladder
        with self._signals:
            state = State(
                now_s=now,
                active=min(self._active.index, len(ladder) - 1),
                since_switch_s=now - self._switched_s,
                waited_s=waited,
                deadline_s=request.deadline_s,
                queued=len(self._line),
                rate=self._rate.at(now),
                slowdown=self._slowdown.value,
                slowdown_age_s=self._slowdown.age_s(now),
                recent_p95_s=self._recent.p95_s,
                sensors=self._senses.readings(),
                memory=self._memory,
            )
        try:
            decision = self._policy.choose(state, ladder)
            if not 0 <= decision.variant < len(ladder):
                raise BadValue("variant of a decision", decision.variant, f"0..{len(ladder) - 1}")
        except Exception:  # a policy that fails must not take the service with it
            self._books.alarm()
            return Decision(0, "policy failed", memory=self._memory)
        self._memory = decision.memory
        return decision

    def _named(self, index: int) -> Ready:
        """The variant that somebody named, opened if it is not.

        Raises:
            VariantFailed: If it cannot be opened or is in quarantine.
        """
        ready = self.engine.at(index)
        profile = self.engine.ladder[index] if ready is None else ready.profile
        why = self._quarantine.why(profile.id)
        if why:
            raise VariantFailed(f"variant {profile.name} must be out of quarantine, got: {why}")
        return self.engine.ready(index) if ready is None else ready

    def _available(self, index: int) -> Ready:
        """The variant at an index if it can answer now, else the nearest smaller one, else the nearest larger.

        What is not in memory is opened in the background meanwhile: no request waits for a file.

        Raises:
            VariantFailed: If none can.
        """
        ladder = self.engine.ladder
        index = min(index, len(ladder) - 1)  # it may come from a longer ladder, before a reload
        for candidate in (*range(index, -1, -1), *range(index + 1, len(ladder))):
            ready = self.engine.at(candidate)
            if ready is None:
                if candidate == index:
                    self.engine.want(index)
            elif not self._quarantine.why(ready.profile.id):
                return ready
        raise VariantFailed(f"a variant must be able to answer, got {len(ladder)} in quarantine or closed")

    def _answered(self, request: Request, ready: Ready, taken: float) -> Answer:
        while True:
            try:
                outputs = ready.run(request.inputs, self._limit_s(ready, request, self._now()))
                break
            except Exception as error:
                self._failed(ready, first_line(error))
                ready = self._second(request, ready, error)  # always a smaller one, so this ends
        done = self._now()
        total, compute = done - request.arrived_s, done - taken
        profile = ready.profile
        with self._signals:
            self._slowdown.served(done, compute, profile.latency_ms / 1e3)
            self._recent.answered(total)
        on_time = total <= request.deadline_s
        self._books.finished("ok", Entry(done, profile.name, total, compute, on_time, profile.accuracy))
        queue_ms = (taken - request.arrived_s) * 1e3
        return Answer(outputs, profile.name, profile.id, ready.generation, queue_ms, compute * 1e3)

    def _limit_s(self, ready: Ready, request: Request, now: float) -> float:
        """When a request that still runs is taken to hang."""
        if not self.engine.isolated:
            return math.inf  # in this process nothing can stop it
        slow_s = max(self._slowdown.value, 1.0) / 1e3
        p95_s = slow_s * ready.profile.p95_ms
        hang_s = max(HANG_TIMES * p95_s, HANG_LEAST_S)
        if ready.index == 0 or request.variant is not None:
            return hang_s
        retry_s = RETRY_TIMES * slow_s * self.engine.ladder[ready.index - 1].p95_ms + BURY_S
        spare_s = request.deadline_s - (now - request.arrived_s) - retry_s
        return min(hang_s, spare_s) if spare_s >= max(SOONEST_TIMES * p95_s, SOONEST_S) else hang_s

    def _failed(self, ready: Ready, why: str) -> None:
        """A variant raised, hung or died: count it, and keep requests away from it if it is not sound."""
        name = ready.profile.name
        self._books.failed(name)
        # One that raises but still passes its self test met a request it cannot answer; whoever sent that must not
        # be able to close variants for all others. One that hung or died costs too much to be asked again.
        if not self.engine.isolated and self.engine.sound(ready):
            self._said(f"raised: {name}")
            return
        self._quarantine.add(ready, why)
        self._said(f"failed: {name}")

    def _second(self, request: Request, ready: Ready, error: Exception) -> Ready:
        """The next smaller variant for a request whose first one failed.

        Raises:
            VariantFailed: If there is none, the request named its variant, or the deadline is over.
        """
        late = self._now() - request.arrived_s > request.deadline_s
        if request.variant is not None or late or ready.index == 0:
            why = "its deadline is over" if late else "there is no other to ask"
            raise VariantFailed(f"variant must answer, got: {first_line(error)}; {why}") from error
        second = self._available(ready.index - 1)
        if second.index >= ready.index:
            raise VariantFailed(
                f"variant must answer, got: {first_line(error)}; no smaller one can"
            ) from error
        if self._active is ready and self._quarantine.why(ready.profile.id):
            self._activate(second, "retry")
        return second

    def _said(self, cause: str) -> None:
        """An event that is no switch."""
        ready = self._active
        name = ready.profile.name
        self._books.happened(self._now() - self._start_s, name, name, cause, ready.generation)

    def _unopened(self, name: str, text: str) -> None:
        """A variant could not be opened; the one that is active goes on."""
        self._books.failed(name)
        self._said(f"unopened: {name}")

    def _idle(self) -> bool:
        """Whether no request waits or is computed."""
        return not len(self._line) and not self._in_flight

    def _wrong(self, ready: Ready, why: str) -> None:
        """A variant in memory answers wrongly, or what it is mapped from was changed."""
        name = ready.profile.name
        self._books.failed(name)
        self._quarantine.add(ready, why)
        self._said(f"wrong: {name}")

    def _unchecked(self, ready: Ready, why: str) -> None:
        """A variant in memory could not be checked; nothing says that it is wrong, and it goes on."""
        self._books.alarm()
        self._said(f"unchecked: {ready.profile.name}")

    def snapshot(self) -> Snapshot:
        """Everything about this moment."""
        now = self._now()
        entries = self._books.last_minute(now)
        answered = [e for e in entries if e.variant]
        right = sum(e.accuracy for e in answered if e.on_time)
        books = self._books
        return Snapshot(
            active=self._active.profile.name,
            pinned=self._pinned,
            policy=self._policy.card.name,
            generation=self.engine.generation,
            runtime=self.engine.runtime,
            variants=tuple(self._state_of(i, answered) for i in range(len(self.engine.ladder))),
            counts=dict(books.counts),
            queue=len(self._line),
            queue_limit=self._queue_limit,
            in_flight=len(self._in_flight),
            rate=self._rate.at(now),
            slowdown=self._slowdown.value,
            latency_ms=percentiles([e.total_s * 1e3 for e in answered]),
            slo_miss=sum(not e.on_time for e in answered),
            offered=len(entries),
            effective_accuracy=right / len(entries) if entries else math.nan,
            sensors={n: (r.value, r.age_s) for n, r in self._senses.readings().items()},
            sensor_failures=self._senses.failures,
            switches=books.switches,
            alarms=books.alarms,
            self_test_failures=self.engine.tally.self_tests,
            digest_failures=self.engine.tally.digests,
            switch_s=Histogram(SHORT_S, list(books.switch_s.counts), books.switch_s.total),
            decision_s=Histogram(SHORT_S, list(books.decision_s.counts), books.decision_s.total),
            uptime_s=now - self._start_s,
        )

    def _state_of(self, index: int, answered: Sequence[Entry]) -> VariantState:
        profile = self.engine.ladder[index]
        ready = self.engine.at(index)
        return VariantState(
            name=profile.name,
            id=profile.id,
            accuracy=profile.accuracy,
            profiled_ms=profile.latency_ms,
            requests=self._books.requests[profile.name],
            failures=self._books.failures[profile.name],
            latency_ms=percentiles([e.compute_s * 1e3 for e in answered if e.variant == profile.name]),
            ready=ready is not None,
            quarantined=self._quarantine.why(profile.id) or self.engine.failed.get(profile.name, ""),
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
        if self._recheck is not None:
            self._recheck.stop()
        self._senses.stop()
        self._quarantine.close()

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
    return [ready for i in range(len(engine.ladder)) if (ready := engine.at(i)) is not None]
