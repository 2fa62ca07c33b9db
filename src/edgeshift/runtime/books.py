# SPDX-License-Identifier: Apache-2.0
"""What happened: events one by one, requests in counts and percentiles of the last minute."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeshift.runtime.histogram import Histogram

# What a request can end as.
REASONS = ("ok", "deadline", "queue_full", "closed", "bad_input", "variant_failed")
WINDOW_S = 60.0
# At 1,000 requests per second a minute is 60,000; beyond this the window is shorter than a minute.
KEPT, EVENTS = 65536, 4096
PERCENTILES = (50, 90, 95, 99)
# Of switches and decisions: from one reference store to what a request would notice.
SHORT_S = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 0.1)


@dataclass(frozen=True)
class Event:
    """Something that a person may ask about later.

    Attributes:
        number: 1, 2, 3 ... without gaps.
        time_s: Seconds since the switcher started.
        from_: Variant that was active.
        to: Variant that is active from then on; the same for what is no switch.
        cause: Why: the policy's word, "manual", "pin", "reload", "rollback", "failed: ..." ...
        generation: Served from then on.
    """

    number: int
    time_s: float
    from_: str
    to: str
    cause: str
    generation: int


@dataclass(frozen=True)
class VariantState:
    """One variant in a snapshot.

    Attributes:
        name: Of the variant.
        id: Of the variant.
        accuracy: On validation, 0..1.
        profiled_ms: Median of one request by its profile.
        requests: Answered since the start.
        failures: Times it raised, hung or died.
        latency_ms: Percentile ("p50" ...) -> computing time in the last minute; empty if it answered none.
        ready: Whether it is in memory.
        quarantined: Why it may not answer now; empty = it may.
        source: "cache", "onnx" or empty; see `Ready`.
        size_bytes: Of its opened file; 0 if it is not in memory.
        load_ms: What opening took.
        note: What was put right while opening.
    """

    name: str
    id: str
    accuracy: float
    profiled_ms: float
    requests: int
    failures: int
    latency_ms: Mapping[str, float]
    ready: bool
    quarantined: str
    source: str
    size_bytes: int
    load_ms: float
    note: str


@dataclass(frozen=True)
class Snapshot:
    """Everything about a switcher at one moment; `dataclasses.asdict` gives JSON types.

    Attributes:
        active: Name of the active variant.
        pinned: Name of the pinned variant, or None.
        policy: Name of the policy.
        generation: Served.
        runtime: What computes, name and version.
        variants: One for each variant of the ladder, the fastest first.
        counts: Reason (one of `REASONS`) -> requests since the start.
        queue: Requests that wait.
        queue_limit: How many may.
        in_flight: Requests being computed.
        rate: Arrivals per second, smoothed.
        slowdown: Service time over profiled time, smoothed.
        latency_ms: Percentile -> arrival to answer in the last minute; empty if there was none.
        slo_miss: Answers in the last minute that came after their deadline.
        offered: Requests in the last minute, the rejected ones too.
        effective_accuracy: Expected share of requests of the last minute answered right and on time; nan = none.
        sensors: Name -> (value, age in s).
        sensor_failures: Times that a sensor gave nothing.
        switches: Since the start.
        alarms: Times that something failed that must not: a variant, a policy, a reload.
        self_test_failures: Variants that answered wrongly when they were opened or checked again.
        digest_failures: Files that were not as they were written down.
        switch_s: Durations of switches, from the wish to the event written down.
        decision_s: Durations of decisions, the policy's state included.
        uptime_s: Since the start.
    """

    active: str
    pinned: str | None
    policy: str
    generation: int
    runtime: str
    variants: tuple[VariantState, ...]
    counts: Mapping[str, int]
    queue: int
    queue_limit: int
    in_flight: int
    rate: float
    slowdown: float
    latency_ms: Mapping[str, float]
    slo_miss: int
    offered: int
    effective_accuracy: float
    sensors: Mapping[str, tuple[float, float]]
    sensor_failures: int
    switches: int
    alarms: int
    self_test_failures: int
    digest_failures: int
    switch_s: Histogram
    decision_s: Histogram
    uptime_s: float


@dataclass(frozen=True)
class Entry:
    """One finished request; times in seconds, `variant` empty if none answered."""

    time_s: float
    variant: str
    total_s: float
    compute_s: float
    on_time: bool
    accuracy: float


def percentiles(values: list[float]) -> dict[str, float]:
    """ "p50" ... -> value, nearest rank; empty for none."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"p{p}": ordered[round(p / 100 * last)] for p in PERCENTILES} if ordered else {}


@dataclass
class Books:
    """Counts, events, times and the last minute; safe from any thread, the two histograms under the caller's lock."""

    counts: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    switches: int = 0
    alarms: int = 0
    _entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=KEPT))
    _events: deque[tuple[int, float, str, str, str, int]] = field(
        default_factory=lambda: deque(maxlen=EVENTS)
    )
    switch_s: Histogram = field(default_factory=lambda: Histogram(SHORT_S))
    decision_s: Histogram = field(default_factory=lambda: Histogram(SHORT_S))
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # Of its own: a switch must not wait for requests that are being counted.
    _events_lock: threading.Lock = field(default_factory=threading.Lock)

    def finished(self, reason: str, entry: Entry) -> None:
        """A request ended."""
        with self._lock:
            self.counts[reason] += 1
            if entry.variant:
                self.requests[entry.variant] += 1
            self._entries.append(entry)

    def counted(self, reason: str) -> None:
        """A request ended that is not in the last minute's figures, such as one with wrong inputs."""
        with self._lock:
            self.counts[reason] += 1

    def failed(self, variant: str) -> None:
        """A variant failed a request or its self test."""
        with self._lock:
            self.failures[variant] += 1
            self.alarms += 1

    def alarm(self) -> None:
        """Something else failed that must not."""
        with self._lock:
            self.alarms += 1

    def happened(self, time_s: float, before: str, after: str, cause: str, generation: int) -> None:
        """An event; a switch if the variants differ. Its fields are kept, not an `Event`: a switch waits for this."""
        with self._events_lock:
            self.switches += before != after
            self._number += 1
            self._events.append((self._number, time_s, before, after, cause, generation))

    def events(self, since: int = 0) -> tuple[Event, ...]:
        """Events with a number above `since`; the oldest are forgotten beyond some thousands."""
        with self._events_lock:
            found = [event for event in self._events if event[0] > since]
        return tuple(Event(*event) for event in found)

    def last_minute(self, now_s: float) -> list[Entry]:
        """Requests that ended within `WINDOW_S`, the oldest first."""
        with self._lock:
            while self._entries and self._entries[0].time_s < now_s - WINDOW_S:
                self._entries.popleft()
            return list(self._entries)
