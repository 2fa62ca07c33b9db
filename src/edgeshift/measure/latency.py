# SPDX-License-Identifier: Apache-2.0
"""How long one call takes: warm, repeated, with its spread; several models in turns for a fair comparison."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol as Contract

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Measurement
from edgeshift.devices.machine import describe_device

NANO = 1e-6  # ns -> ms


class Answers(Contract):
    """What is timed: a `Session`, or anything like it."""

    @property
    def threads(self) -> int:
        """Intra-op threads."""

    @property
    def runtime(self) -> str:
        """Name and version."""

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """One call."""


@dataclass(frozen=True)
class Protocol:
    """When to start counting and when to stop.

    Attributes:
        min_repeats: Counted calls at least.
        min_seconds: Counted time at least, per model.
        max_seconds: No further round begins after this much time, warm-up included, per model.
        precision: Stop early once the half-width of the median's 95 % interval is below this share of it.
        steady: Warm-up ends when the medians of two windows differ by less than this share.
        warmup_seconds: Warm-up at most, per model.
        block: Calls in a row per model and round.
        settle: First calls of each block that do not count: they refill the caches the others used.
        seed: Of the order of the models in each round.
    """

    min_repeats: int = 50
    min_seconds: float = 0.3
    max_seconds: float = 3.0
    precision: float = 0.01
    steady: float = 0.05
    warmup_seconds: float = 0.5
    block: int = 10
    settle: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.min_repeats < 2:
            raise BadValue("min_repeats", self.min_repeats, "at least 2, to have a spread")
        if not 0 <= self.min_seconds <= self.max_seconds or self.warmup_seconds < 0:
            raise BadValue(
                "seconds", (self.min_seconds, self.max_seconds), "from 0, the least not above the most"
            )
        if self.precision <= 0 or self.steady <= 0:
            raise BadValue("precision and steady", (self.precision, self.steady), "above 0")
        if not 0 <= self.settle < self.block:
            raise BadValue("settle", self.settle, f"0 to {self.block - 1}, below the block")


QUICK = Protocol(min_repeats=10, min_seconds=0.05, max_seconds=0.5, warmup_seconds=0.1)
# Calls per warm-up window; the median of 5 shrugs off two interruptions.
WINDOW = 5


def batch_of(example: NDArray[np.float32], batch_size: int) -> NDArray[np.float32]:
    """Inputs of exactly that batch size, the example's repeated or cut."""
    if batch_size < 1:
        raise BadValue("batch_size", batch_size, "at least 1")
    if len(example) == 0:
        raise BadValue("example", example.shape, "at least one input")
    return np.ascontiguousarray(np.resize(example, (batch_size, *example.shape[1:])), dtype=np.float32)


def warm_up(
    session: Answers, inputs: NDArray[np.float32], protocol: Protocol, clock: Callable[[], int]
) -> int:
    """Run until two windows in a row agree or the time is up; returns the number of calls."""
    begin = clock()
    calls, last = 0, 0.0
    while True:
        times = []
        for _ in range(WINDOW):
            start = clock()
            session.run(inputs)
            times.append(clock() - start)
        calls += WINDOW
        median = float(np.median(times))
        if last and abs(median - last) <= protocol.steady * last:
            return calls
        if (clock() - begin) * 1e-9 >= protocol.warmup_seconds:
            return calls
        last = median


def known_well(times: list[int], protocol: Protocol) -> bool:
    """Whether the median's 95 % interval is narrow enough.

    1.57 * IQR / sqrt(n): McGill, Tukey and Larsen, The American Statistician 1978.
    """
    low, median, high = np.percentile(times, (25, 50, 75))
    return bool(1.57 * (high - low) / np.sqrt(len(times)) <= protocol.precision * median)


def latencies(
    sessions: Sequence[Answers],
    example: NDArray[np.float32],
    batch_size: int = 1,
    protocol: Protocol = Protocol(),  # frozen
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[Measurement, ...]:
    """Latency of several models, measured in turns in this process.

    In each round every model runs one block, in an order drawn anew, so that a machine that slows down or is
    disturbed slows all of them. Wall time of one call, everything between input array and output array.

    Args:
        sessions: Opened with the same number of threads.
        example: `(any, *input_shape)`, float32; repeated or cut to the batch size.
        batch_size: Inputs per call, 1 or more.
        protocol: When to start and stop.
        clock: Nanoseconds; another one for tests.

    Returns:
        For each session the median in ms, with p95, spread, repeats and warm-up.

    Raises:
        BadValue: If there is no session, they differ in threads, or the batch size is below 1.
    """
    if not sessions or len({s.threads for s in sessions}) != 1:
        raise BadValue(
            "threads of the sessions", [s.threads for s in sessions], "equal, for at least one session"
        )
    inputs = batch_of(example, batch_size)
    begin = clock()
    warmed = [warm_up(session, inputs, protocol, clock) for session in sessions]
    times: list[list[int]] = [[] for _ in sessions]
    order = list(range(len(sessions)))
    source = random.Random(protocol.seed)
    while True:
        source.shuffle(order)
        for which in order:
            for call in range(protocol.block):
                start = clock()
                sessions[which].run(inputs)
                took = clock() - start
                if call >= protocol.settle:
                    times[which].append(took)
        enough = all(len(t) >= protocol.min_repeats and sum(t) * 1e-9 >= protocol.min_seconds for t in times)
        late = (clock() - begin) * 1e-9 >= protocol.max_seconds * len(sessions)
        if len(times[0]) >= 2 and (late or (enough and all(known_well(t, protocol) for t in times))):
            break
    device = describe_device()
    return tuple(
        summary(t, session, device, batch_size, warmup)
        for t, session, warmup in zip(times, sessions, warmed, strict=True)
    )


def summary(times: list[int], session: Answers, device: str, batch_size: int, warmup: int) -> Measurement:
    """Nanoseconds as a measurement in ms."""
    low, median, high, late = (float(v) for v in np.percentile(times, (25, 50, 75, 95)))
    return Measurement(
        quantity="latency",
        value=median * NANO,
        unit="ms",
        kind="measured",
        device=device,
        runtime=session.runtime,
        threads=session.threads,
        batch_size=batch_size,
        repeats=len(times),
        warmup=warmup,
        p95=late * NANO,
        spread=(high - low) / median if median else 0.0,
    ).check()


def latency(
    session: Answers,
    example: NDArray[np.float32],
    batch_size: int = 1,
    threads: int | None = None,
    protocol: Protocol = Protocol(),  # frozen
) -> Measurement:
    """Latency of one model; see `latencies`.

    Args:
        session: Opened model.
        example: `(any, *input_shape)`, float32; repeated or cut to the batch size.
        batch_size: Inputs per call, 1 or more.
        threads: What the session was opened with; None = do not compare.
        protocol: When to start and stop.

    Raises:
        BadValue: If the session has another number of threads, or the batch size is below 1.
    """
    if threads is not None and threads != session.threads:
        raise BadValue("threads", threads, f"{session.threads}, as the session was opened")
    return latencies([session], example, batch_size, protocol)[0]
