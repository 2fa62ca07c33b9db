# SPDX-License-Identifier: Apache-2.0
"""What a policy sees and says: the ladder of variants, the state at one request, the decision."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeshift.core.errors import BadValue


@dataclass(frozen=True)
class Profile:
    """One variant as a policy sees it, at full clock and without load.

    Attributes:
        id: Of the variant.
        name: Of the variant.
        accuracy: On the validation split, 0..1.
        latency_ms: Median of one request.
        p95_ms: 95th percentile of one request.
        fixed_ms: The part of `latency_ms` that does not change with the clock (memory, launch): at relative
            clock f a request takes `(latency_ms - fixed_ms) / f + fixed_ms`.
        size_bytes: Of the file that is opened.
    """

    id: str
    name: str
    accuracy: float
    latency_ms: float
    p95_ms: float
    fixed_ms: float = 0.0
    size_bytes: int = 0

    def check(self) -> "Profile":
        """Self, or BadValue."""
        if not (0 < self.latency_ms <= self.p95_ms < math.inf and 0 <= self.fixed_ms <= self.latency_ms):
            got = (self.fixed_ms, self.latency_ms, self.p95_ms)
            raise BadValue(f"times of {self.name}", got, "0 <= fixed_ms <= latency_ms <= p95_ms, finite")
        if not 0 <= self.accuracy <= 1:
            raise BadValue(f"accuracy of {self.name}", self.accuracy, "0..1")
        return self


@dataclass(frozen=True)
class Ladder:
    """The variants a policy may choose from, the fastest first; index 0 is the safe one.

    Attributes:
        profiles: Sorted by `latency_ms`; a later one is also the more accurate one.
    """

    profiles: tuple[Profile, ...]

    @staticmethod
    def of(profiles: tuple[Profile, ...]) -> "Ladder":
        """The ladder of these variants; one that is slower and not more accurate than another is left out.

        Raises:
            BadValue: If there is none, or one is out of range.
        """
        kept: list[Profile] = []
        for profile in sorted(profiles, key=lambda p: (p.check().latency_ms, -p.accuracy)):
            if not kept or profile.accuracy > kept[-1].accuracy:
                kept.append(profile)
        if not kept:
            raise BadValue("variants to serve", 0, "at least 1")
        return Ladder(tuple(kept))

    def __len__(self) -> int:
        return len(self.profiles)

    def __getitem__(self, index: int) -> Profile:
        return self.profiles[index]


@dataclass(frozen=True)
class Reading:
    """What one sensor said last.

    Attributes:
        value: In the unit of the sensor's card.
        age_s: Seconds since it was read; a policy trusts nothing older than 5 s.
    """

    value: float
    age_s: float = 0.0


@dataclass(frozen=True)
class State:
    """Everything a policy may know when one request is taken from the queue.

    Attributes:
        now_s: Monotonic clock.
        active: Index of the active variant in the ladder.
        since_switch_s: Seconds since the last switch; inf before the first.
        waited_s: How long the request has been in the queue.
        deadline_s: What it may take from arrival to answer; inf = it has no deadline.
        queued: Requests behind it.
        rate: Arrivals per second, smoothed.
        slowdown: Service time over profiled time, smoothed; 1 = as profiled. The sensor that works everywhere.
        slowdown_age_s: Seconds since it was last measured; inf = never.
        recent_p95_s: 95th percentile of recent answers, arrival to answer; nan = none yet.
        sensors: Name of a sensor -> what it said; a sensor that is missing or failed is absent.
        memory: What the policy returned last time; () at first.
    """

    now_s: float
    active: int
    since_switch_s: float = math.inf
    waited_s: float = 0.0
    deadline_s: float = math.inf
    queued: int = 0
    rate: float = 0.0
    slowdown: float = 1.0
    slowdown_age_s: float = math.inf
    recent_p95_s: float = math.nan
    sensors: Mapping[str, Reading] = field(default_factory=dict)
    memory: tuple[float, ...] = ()

    def but(self, **changed: Any) -> "State":
        """This state with other values of some fields, in a fifth of the time of `dataclasses.replace`.

        Policies around others need it with every request.
        """
        made = object.__new__(State)
        made.__dict__.update(self.__dict__, **changed)
        return made


@dataclass(frozen=True)
class Decision:
    """What a policy wants for one request.

    Attributes:
        variant: Index in the ladder that answers; a new index is a switch.
        cause: A word or two for logs and metrics, from a small fixed set per policy.
        admit: False = answer at once that the deadline can not be met.
        memory: What the policy wants to see again in the next `State.memory`.
    """

    variant: int
    cause: str
    admit: bool = True
    memory: tuple[float, ...] = ()
