# SPDX-License-Identifier: Apache-2.0
"""What the server counts itself: answers, refusals, and where the time of a request goes.

Touched by the event loop alone, so plain integers do. Every name comes from the manifest or from
`serve.codes.REFUSALS`: no client can make a series.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeshift.runtime.books import Event
from edgeshift.runtime.histogram import Histogram
from edgeshift.serve.codes import REFUSALS

# Upper bounds in seconds: 0.1 ms, under the fastest variant of a small network, to the request timeout.
BOUNDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
# Seconds of history that a dashboard which is opened late still sees.
HISTORY = 300
# Statuses of requests that were right but could not be served.
NOT_SERVED = (429, 503)
# Variants times variants times causes is far below; a manifest of hundreds of variants is not.
MOST_SERIES = 1000


def durations() -> Histogram:
    """An empty histogram of times of requests."""
    return Histogram(BOUNDS)


@dataclass
class Times:
    """Where the time of a variant's answers went, and how many came after their deadline."""

    late: int = 0
    request: Histogram = field(default_factory=durations)
    queue: Histogram = field(default_factory=durations)
    compute: Histogram = field(default_factory=durations)


@dataclass(frozen=True)
class Second:
    """One second of the past, for the dashboard; times in ms, None where nothing was answered.

    Attributes:
        time_s: Uptime at its end.
        rate: Answers in it.
        refused: Requests in it that could not be served: 429 and 503.
        late: Answers in it that came after their deadline.
        p50_ms: Median from the whole request to its answer.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        active: Name of the active variant.
    """

    time_s: float
    rate: int
    refused: int
    late: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    active: str


class Counters:
    """All counts of one server.

    Attributes:
        answered: Variant -> where the time of its answers went.
        refused: Code -> inference requests refused with it.
        switched: (from, to, cause) -> switches seen.
        in_flight: Inference requests being answered.
        history: The last `HISTORY` seconds.
    """

    def __init__(self) -> None:
        self.answered: dict[str, Times] = {}
        self.refused: dict[str, int] = {}
        self.switched: dict[tuple[str, str, str], int] = {}
        self.in_flight = 0
        self.history: deque[Second] = deque(maxlen=HISTORY)
        self._this: list[float] = []
        self._this_late = 0
        self._this_refused = 0
        self._last_event = 0

    def answer(self, variant: str, request_s: float, queue_s: float, compute_s: float, *, late: bool) -> None:
        """One request was answered; late: after its deadline."""
        times = self.answered.get(variant)
        if times is None:
            times = self.answered.setdefault(variant, Times())
        times.request.add(request_s)
        times.queue.add(queue_s)
        times.compute.add(compute_s)
        times.late += late
        self._this.append(request_s)
        self._this_late += late

    def refuse(self, code: str) -> None:
        """One inference request was refused."""
        self.refused[code] = self.refused.get(code, 0) + 1
        self._this_refused += REFUSALS[code].status in NOT_SERVED

    def see(self, events: Iterable[Event]) -> None:
        """Count the switches among these events; those seen before are not among them."""
        for event in events:
            self._last_event = event.number
            if event.from_ != event.to:
                key = (event.from_, event.to, event.cause)
                if key not in self.switched and len(self.switched) >= MOST_SERIES:
                    key = ("", "", "other")
                self.switched[key] = self.switched.get(key, 0) + 1

    @property
    def last_event(self) -> int:
        """Number of the last event seen."""
        return self._last_event

    def late_share(self) -> float | None:
        """Share of the last minute's requests that were late or could not be served; None if there were none."""
        seconds = list(self.history)[-60:]
        offered = sum(s.rate + s.refused for s in seconds)
        return sum(s.late + s.refused for s in seconds) / offered if offered else None

    def end_second(self, time_s: float, active: str) -> None:
        """Close the second that ends now and begin the next."""
        values, self._this = sorted(self._this), []

        def at(share: float) -> float | None:
            return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else None

        times = (at(0.5), at(0.95), at(0.99))
        self.history.append(Second(time_s, len(values), self._this_refused, self._this_late, *times, active))
        self._this_late = self._this_refused = 0
