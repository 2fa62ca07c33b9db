# SPDX-License-Identifier: Apache-2.0
"""Policies beside what they must beat: the smallest variant, the best one in hindsight, and a bound. Modelled."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Progress
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.simulate import Outcome, Replay, replay
from edgeshift.runtime.simulate_oracle import upper_bound
from edgeshift.runtime.state import Ladder

# 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, the normal distribution's.
T = (
    *(
        12.706,
        4.303,
        3.182,
        2.776,
        2.571,
        2.447,
        2.365,
        2.306,
        2.262,
        2.228,
        2.201,
        2.179,
        2.160,
        2.145,
        2.131,
    ),
    *(
        2.120,
        2.110,
        2.101,
        2.093,
        2.086,
        2.080,
        2.074,
        2.069,
        2.064,
        2.060,
        2.056,
        2.052,
        2.048,
        2.045,
        2.042,
    ),
)
NORMAL = 1.960


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Of the seeds.
        half_width: Of its 95 % confidence interval; nan with one seed.
    """

    mean: float
    half_width: float

    @staticmethod
    def of(values: Sequence[float]) -> "Estimate":
        """Mean and Student's interval."""
        count = len(values)
        if count < 2:
            return Estimate(values[0], math.nan)
        quantile = T[count - 2] if count - 2 < len(T) else NORMAL
        return Estimate(fmean(values), quantile * stdev(values) / math.sqrt(count))


@dataclass(frozen=True)
class Standing:
    """How one policy did, over all seeds.

    Attributes:
        name: Of the policy, as it was given.
        accuracy_on_time: Share of the offered requests answered correctly and on time.
        late: Share answered too late.
        refused: Share not admitted by the policy.
        full: Share that found the queue full.
        admitted_on_time: Share of the admitted that were on time, in the worst seed.
        switches_per_minute: Of the active variant.
        over_smallest: Accuracy on time less that of the smallest variant with admission, seed by seed.
        over_best_static: The same against the best single variant in hindsight.
        logs: Digest of every decision, one per seed.
    """

    name: str
    accuracy_on_time: Estimate
    late: float
    refused: float
    full: float
    admitted_on_time: float
    switches_per_minute: float
    over_smallest: Estimate
    over_best_static: Estimate
    logs: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All that was tried on one trace.

    Attributes:
        standings: The policies that were asked for, in that order.
        statics: Every single variant with admission, the fastest first.
        best_static: Name of the one among them with the most accuracy on time.
        bound: What no policy exceeds; see `upper_bound`.
        requests: In the trace, mean over the seeds.
        load: Share of time that the most accurate variant would be busy, mean over the seeds.
    """

    standings: tuple[Standing, ...]
    statics: tuple[Standing, ...]
    best_static: str
    bound: Estimate
    requests: float
    load: float


@dataclass(frozen=True)
class Trials:
    """What all policies are tried on alike.

    Attributes:
        ladder: What may be chosen.
        trace: Gives the replay of one seed.
        seeds: Of arrivals and service times, at least one.
        scores: Accuracy that counts, one per rung; the ladder's own if left out.
    """

    ladder: Ladder
    trace: Callable[[int], Replay]
    seeds: Sequence[int]
    scores: Sequence[float] = ()


def compare(policies: Mapping[str, Policy], trials: Trials, progress: Progress) -> Comparison:
    """How the policies did, beside every single variant with the same admission and the bound.

    Args:
        policies: By the names they shall have in the result.
        trials: What they are tried on.
        progress: Told of every replay.

    Raises:
        BadValue: If there is no seed, or a policy has the name of a variant.
    """
    if not trials.seeds:
        raise BadValue("seeds", 0, "at least 1")
    ladder = trials.ladder
    taken = sorted({profile.name for profile in ladder.profiles} & set(policies))
    if taken:
        raise BadValue("names of policies", taken, "other than the names of the variants")
    statics = {ladder[i].name: Fixed(variant=i) for i in range(len(ladder))}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in policies}
    single: dict[str, list[Outcome]] = {name: [] for name in statics}
    bounds, loads = [], []
    total = len(trials.seeds) * (len(policies) + len(statics) + 1)
    with progress.task("replay", total) as step:
        for seed in trials.seeds:
            trace = trials.trace(seed)
            for found, contestants in ((single, statics), (outcomes, policies)):
                for name, policy in contestants.items():
                    found[name].append(replay(policy, ladder, trace, seed=seed, scores=trials.scores))
                    step(note=name)
            bounds.append(upper_bound(ladder, trace, seed=seed, scores=trials.scores))
            loads.append(_load(trace, ladder))
            step(note="bound")
    best = max(single, key=lambda name: fmean(o.accuracy_on_time for o in single[name]))
    smallest = single[ladder[0].name]
    runs = {**single, **outcomes}
    made = {name: _standing(name, runs[name], smallest, single[best]) for name in runs}
    return Comparison(
        standings=tuple(made[name] for name in policies),
        statics=tuple(made[name] for name in statics),
        best_static=best,
        bound=Estimate.of(bounds),
        requests=fmean(o.offered for o in smallest),
        load=fmean(loads),
    )


def _load(trace: Replay, ladder: Ladder) -> float:
    seconds = max(trace.sent_s[-1] - trace.sent_s[0], 1e-9)
    return float(len(trace.sent_s) / seconds * ladder.profiles[-1].latency_ms / 1000)


def _standing(name: str, runs: list[Outcome], smallest: list[Outcome], best: list[Outcome]) -> Standing:
    """One row; differences are paired by seed."""
    mine = [run.accuracy_on_time for run in runs]
    return Standing(
        name=name,
        accuracy_on_time=Estimate.of(mine),
        late=fmean(run.missed / run.offered for run in runs),
        refused=fmean(run.refused / run.offered for run in runs),
        full=fmean(run.full / run.offered for run in runs),
        admitted_on_time=min(run.admitted_on_time for run in runs),
        switches_per_minute=fmean(run.switches / run.minutes for run in runs),
        over_smallest=Estimate.of([a - b.accuracy_on_time for a, b in zip(mine, smallest, strict=True)]),
        over_best_static=Estimate.of([a - b.accuracy_on_time for a, b in zip(mine, best, strict=True)]),
        logs=tuple(run.log_sha256 for run in runs),
    )


def plain_comparison(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON types; an interval that one seed cannot give is null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [known(part) for part in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    plain: dict[str, Any] = known(asdict(found))
    return plain
