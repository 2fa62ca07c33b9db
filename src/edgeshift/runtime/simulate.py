# SPDX-License-Identifier: Apache-2.0
"""Replays a trace in virtual time: one worker, one queue, the policy that the Switcher would ask. Modelled.

The service time of a request is the variant's measured median, its clock part stretched by the relative clock,
times noise: log-normal with the measured p95, and one request in 200 takes 3 times as long. Noise is drawn per
request, not per variant, so that all policies meet the same luck.
"""

import hashlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.signals import Rate, Recent, Slowdown
from edgeshift.runtime.state import Ladder, Reading, State
from edgeshift.runtime.traces import Clock, Link

# Of a standard normal distribution.
P95 = 1.6448536269514722
# One request in 200 takes 3 times as long: interrupts, as seen on a shared machine.
STRAGGLERS, STRETCH = 0.005, 3.0
# What `Outcome.chosen` holds for requests that no variant answered.
REFUSED, FULL = -1, -2
# What a sensor says in a replay that does not trace it: nothing is wrong.
AT_BEST = {"cpufreq": 1.0, "temperature": 25.0, "battery": 100.0, "upload": 1e6}


@dataclass(frozen=True)
class Replay:
    """What a policy is tried on.

    Attributes:
        sent_s: `(n,)`, when the client sent each request, rising.
        arrived_s: `(n,)`, when the device had all of it, rising; equal to `sent_s` without a link.
        deadline_s: From sending to answer.
        clock: Of the device; None = full clock throughout.
        upload_kbit_s: `(n,)`, what each upload reached; None without a link.
    """

    sent_s: NDArray[np.float64]
    arrived_s: NDArray[np.float64]
    deadline_s: float
    clock: Clock | None = None
    upload_kbit_s: NDArray[np.float64] | None = None

    @staticmethod
    def of(
        sent_s: NDArray[np.float64],
        deadline_s: float,
        *,
        clock: Clock | None = None,
        link: Link | None = None,
        kbit: float = 24.0,
    ) -> "Replay":
        """The replay of arrivals, on a device with that clock, behind that link.

        Args:
            sent_s: When requests are sent, rising.
            deadline_s: From sending to answer.
            clock: Of the device.
            link: What requests travel over, one after the other.
            kbit: Size of a request on the link; 24 = a CIFAR image.

        Raises:
            BadValue: If there is no request, or the deadline is no number above 0.
        """
        if not len(sent_s):
            raise BadValue(
                "requests in the trace", 0, "at least 1; take a longer part of it or a larger scale"
            )
        if not 0 < deadline_s < math.inf:
            raise BadValue("deadline", deadline_s, "a finite number of seconds above 0")
        if link is None:
            return Replay(sent_s, sent_s, deadline_s, clock)
        arrived_s = link.uploads(sent_s, kbit)
        began_s = np.maximum(sent_s, np.concatenate([[-np.inf], arrived_s[:-1]]))
        reached = kbit / np.maximum(arrived_s - began_s, 1e-9)
        return Replay(sent_s, arrived_s, deadline_s, clock, reached)


@dataclass(frozen=True)
class Outcome:
    """What came of one replay.

    Attributes:
        offered: Requests in the trace.
        on_time: Answered within the deadline.
        missed: Answered later.
        refused: Not admitted by the policy.
        full: Not admitted because the queue was full.
        accuracy_on_time: Expected share of all offered that is answered correctly and on time, 0..1.
        switches: Changes of the active variant.
        minutes: From the first request to the last answer.
        chosen: `(n,)`, index of the variant of each request, or `REFUSED` or `FULL`.
    """

    offered: int
    on_time: int
    missed: int
    refused: int
    full: int
    accuracy_on_time: float
    switches: int
    minutes: float
    chosen: NDArray[np.int8]

    @property
    def admitted_on_time(self) -> float:
        """Share of the admitted that were answered within the deadline, 0..1; 1 if none was admitted."""
        return self.on_time / max(1, self.on_time + self.missed) if self.on_time + self.missed else 1.0

    @property
    def log_sha256(self) -> str:
        """Digest of what was chosen for every request: equal logs, equal digests."""
        return hashlib.sha256(self.chosen.tobytes()).hexdigest()


@dataclass(frozen=True)
class Luck:
    """What chance does to each request's service time.

    Attributes:
        normal: `(n,)`, exponent of the log-normal part in standard deviations.
        stretch: `(n,)`, factor of the stragglers, else 1.
    """

    normal: NDArray[np.float64]
    stretch: NDArray[np.float64]

    @staticmethod
    def draw(requests: int, seed: int) -> "Luck":
        """The luck of that many requests."""
        source = np.random.default_rng(seed_for(seed, "service"))
        normal = source.standard_normal(requests)
        return Luck(normal, np.where(source.random(requests) < STRAGGLERS, STRETCH, 1.0))


def sigmas(ladder: Ladder) -> list[float]:
    """Standard deviation of the logarithm of each variant's service time, from its median and p95."""
    return [math.log(p.p95_ms / p.latency_ms) / P95 for p in ladder.profiles]


def replay(
    policy: Policy,
    ladder: Ladder,
    trace: Replay,
    *,
    seed: int = 0,
    scores: Sequence[float] = (),
    queue_limit: int = 256,
    switch_ms: float = 0.0,
) -> Outcome:
    """What comes of a policy on a trace. Equal arguments, equal outcome.

    Args:
        policy: Is asked when a request is taken from the queue, as in the Switcher.
        ladder: What it may choose from.
        trace: Arrivals, deadline, clock and link.
        seed: Of the service times.
        scores: Accuracy that counts in the outcome, one per rung, such as that on test; those of the ladder, which
            the policy sees, if left out.
        queue_limit: Requests that may wait; one more is dropped.
        switch_ms: What the first answer after a switch takes longer.
    """
    worth = list(scores) or [p.accuracy for p in ladder.profiles]
    if len(worth) != len(ladder):
        raise BadValue("scores", len(worth), f"{len(ladder)}, one per variant of the ladder")
    luck = Luck.draw(len(trace.arrived_s), seed)
    spread, stretch, normal = sigmas(ladder), luck.stretch.tolist(), luck.normal.tolist()
    median_s = [p.latency_ms / 1000 for p in ladder.profiles]
    fixed_s = [p.fixed_ms / 1000 for p in ladder.profiles]
    arrived, sent = trace.arrived_s.tolist(), trace.sent_s.tolist()
    device = _Device(trace)
    rate, slowdown, recent, queue = Rate(), Slowdown(), Recent(), deque[int]()
    chosen = [REFUSED] * len(arrived)
    active, switched_s, free_s = 0, -math.inf, 0.0
    memory: tuple[float, ...] = ()
    following = on_time = missed = switches = 0
    correct = 0.0
    while queue or following < len(arrived):
        now_s = free_s if queue else max(free_s, arrived[following])
        while following < len(arrived) and arrived[following] <= now_s:
            rate.arrived(arrived[following])
            if len(queue) < queue_limit:
                queue.append(following)
            else:
                chosen[following] = FULL
            following += 1
        request = queue.popleft()
        decision = policy.choose(
            State(
                now_s,
                active,
                now_s - switched_s,
                now_s - arrived[request],
                trace.deadline_s,
                len(queue),
                rate.at(now_s),
                slowdown.value,
                slowdown.age_s(now_s),
                recent.p95_s,
                device.read(now_s, request),
                memory,
            ),
            ladder,
        )
        memory = decision.memory
        free_s = now_s
        if not decision.admit:
            continue  # and nothing is switched for it
        variant = decision.variant
        profiled_s = median_s[variant]
        took_s = (profiled_s - fixed_s[variant]) / device.share(now_s) + fixed_s[variant]
        took_s *= math.exp(spread[variant] * normal[request]) * stretch[request]
        if variant != active:
            active, switched_s, switches = variant, now_s, switches + 1
            free_s += switch_ms / 1000
        free_s += took_s
        slowdown.served(free_s, took_s, profiled_s)
        recent.answered(free_s - arrived[request])
        chosen[request] = variant
        if free_s - sent[request] <= trace.deadline_s:
            on_time += 1
            correct += worth[variant]
        else:
            missed += 1
    full = chosen.count(FULL)
    return Outcome(
        offered=len(arrived),
        on_time=on_time,
        missed=missed,
        refused=len(arrived) - on_time - missed - full,
        full=full,
        accuracy_on_time=correct / len(arrived),
        switches=switches,
        minutes=max(free_s - sent[0], 1e-9) / 60,
        chosen=np.array(chosen, np.int8),
    )


class _Device:
    """What the sensors of the replayed device say, read once per step of the clock."""

    def __init__(self, trace: Replay) -> None:
        self._clock = trace.clock
        self._uploads = None if trace.upload_kbit_s is None else trace.upload_kbit_s.tolist()
        self._shares = [1.0] if trace.clock is None else trace.clock.share.tolist()
        self._step_s = math.inf if trace.clock is None else trace.clock.step_s
        self._at = -1
        self._known = {name: Reading(value) for name, value in AT_BEST.items()}

    def share(self, now_s: float) -> float:
        """The relative clock."""
        share: float = self._shares[int(now_s / self._step_s) % len(self._shares)]
        return share

    def read(self, now_s: float, request: int) -> dict[str, Reading]:
        """What every sensor said last."""
        step = int(now_s / self._step_s)
        if self._clock is not None and step != self._at:
            self._at = step
            sample = step % len(self._shares)
            said = {"cpufreq": self._shares[sample], "temperature": float(self._clock.celsius[sample])}
            self._known = {**self._known, **{name: Reading(value) for name, value in said.items()}}
        if self._uploads is not None:
            self._known = {**self._known, "upload": Reading(self._uploads[request])}
        return self._known
