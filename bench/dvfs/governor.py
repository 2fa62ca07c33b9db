# SPDX-License-Identifier: Apache-2.0
"""Accuracy on time and energy over governor traces: shifting against every fixed variant and the oracle. Modelled.

    python -m bench.dvfs.governor --portfolio build/all_in_one/resnet20_nested

Two governors, ten seeds of an hour each: `thermal` steps the clock down as the case heats up
(`edgeshift.runtime.traces.modelled_clock`); `load` follows what other work asks of the CPU, as Linux's schedutil does.
Requests come as a camera's frames do, at a steady rate at which the largest variant at full clock is busy 30 % of the
time; each has to be answered within 1.2 times the latency to keep, the bar that p95 has in `bench.dvfs.latency`.
Nothing is refused but by the policy `deadline`. Times are the variants' measured ones, replayed in virtual time; energy
is that of a declared model of power, its numbers are in the rows.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.dvfs.latency import CLOCKS, ROOM, timed
from bench.record import Run, keep, table
from edgeshift.core.seeds import seed_for
from edgeshift.portfolio import Portfolio
from edgeshift.runtime.ladder import ladder_of
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.frequency import Frequency
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.simulate import FULL, REFUSED, Outcome, Replay, replay
from edgeshift.runtime.simulate_compare import Estimate
from edgeshift.runtime.simulate_oracle import upper_bound
from edgeshift.runtime.state import Ladder
from edgeshift.runtime.traces import Clock, modelled_clock

SEEDS, SECONDS, BUSY, LATE = 10, 3600.0, 0.3, 1.2
# schedutil asks for a quarter more than what is used (Linux kernel, kernel/sched/cpufreq_schedutil.c).
HEADROOM = 1.25
# Requests per replay are bounded by stretching all times: what is compared are ratios.
MOST = 6_000


@dataclass(frozen=True)
class Power:
    """A declared model of power: `static + dynamic * f * V(f)^2` when busy, `idle` else. Modelled, never measured.

    The numbers are of the order of a small single-board computer with one core at work; no device was measured.

    Attributes:
        idle_w: When nothing runs.
        static_w: More as soon as the core runs, at any clock.
        dynamic_w: More at full clock and voltage.
        least_volt: Voltage at clock 0 over that at full clock; straight between.
    """

    idle_w: float = 2.0
    static_w: float = 0.3
    dynamic_w: float = 1.7
    least_volt: float = 0.6

    def busy_w(self, clock: float) -> float:
        """Watts of the whole device while it computes."""
        volt = self.least_volt + (1 - self.least_volt) * clock
        return self.idle_w + self.static_w + self.dynamic_w * clock * volt**2


def load_clock(seed: int, seconds: float = SECONDS) -> Clock:
    """A clock that follows the load of other work, one of `CLOCKS`, once a second. Modelled."""
    source = np.random.default_rng(seed_for(seed, "load"))
    used, share = 0.5, np.empty(int(seconds))
    for second in range(len(share)):
        # Pulled back to half within about 20 s, pushed by 0.08 a second: from idle to full within a minute.
        used = float(np.clip(used + (0.5 - used) / 20 + source.normal(0, 0.08), 0, 1))
        asked = min(1.0, HEADROOM * used)
        share[second] = min(clock for clock in CLOCKS if clock >= asked or clock == CLOCKS[0])
    return Clock(1.0, share, np.full(len(share), 50.0)).check()


GOVERNORS = {"thermal": modelled_clock, "load": load_clock}


def trace(ladder: Ladder, governor: str, seed: int, target_ms: float) -> Replay:
    """Arrivals and clock of one replay."""
    source = np.random.default_rng(seed_for(seed, "requests"))
    rate = BUSY / (ladder.profiles[-1].latency_ms / 1e3)
    count = int(min(MOST, rate * SECONDS))
    # A tenth of the period early or late: no two frames at once, and no step of the clock always between two.
    sent = np.sort(np.arange(1, count + 1) + source.uniform(-0.1, 0.1, count)) / rate
    # The clock changes as often per request as it would over the whole hour.
    clock = GOVERNORS[governor](seed)
    clock = Clock(clock.step_s * count / rate / SECONDS, clock.share, clock.celsius)
    return Replay.of(sent, LATE * target_ms / 1e3, clock=clock)


def energy_mj(ladder: Ladder, given: Replay, outcome: Outcome, power: Power) -> tuple[float, float]:
    """Expected energy per answered request in mJ: above idle, and with the idle power of the whole time."""
    clock = given.clock
    if clock is None:
        raise ValueError("a replay with a clock")
    shares = clock.share[(given.arrived_s / clock.step_s).astype(int) % len(clock.share)]
    total, answered = 0.0, 0
    for variant, share in zip(outcome.chosen.tolist(), shares.tolist(), strict=True):
        if variant in (REFUSED, FULL):
            continue
        profile = ladder.profiles[variant]
        took_s = ((profile.latency_ms - profile.fixed_ms) / share + profile.fixed_ms) / 1e3
        total += (power.busy_w(share) - power.idle_w) * took_s
        answered += 1
    idle = power.idle_w * outcome.minutes * 60
    return total / max(1, answered) * 1e3, (total + idle) / max(1, answered) * 1e3


def policies(ladder: Ladder, target_ms: float) -> Mapping[str, Policy]:
    """What is compared."""
    fixed = {f"fixed {p.name}": Fixed(i, reject=False) for i, p in enumerate(ladder.profiles)}
    shifting = Frequency(inner=Fixed(variant=-1, reject=False), target_ms=target_ms)
    return {"shifting": shifting, "frequency over deadline": Frequency(target_ms=target_ms), **fixed}


def rows_of(
    ladder: Ladder, scores: tuple[float, ...], target_ms: float, power: Power
) -> list[dict[str, Any]]:
    """One row for each governor and policy."""
    rows = []
    for governor in GOVERNORS:
        traces = [trace(ladder, governor, seed, target_ms) for seed in range(SEEDS)]
        bound = [upper_bound(ladder, t, seed=s, scores=scores) for s, t in enumerate(traces)]
        shifting: list[float] = []
        for name, policy in policies(ladder, target_ms).items():
            outcomes = [replay(policy, ladder, t, seed=s, scores=scores) for s, t in enumerate(traces)]
            earned = [o.accuracy_on_time for o in outcomes]
            shifting = shifting or earned
            used = [energy_mj(ladder, t, o, power) for t, o in zip(traces, outcomes, strict=True)]
            ahead = Estimate.of([a - b for a, b in zip(shifting, earned, strict=True)])
            rows.append(
                {
                    "governor": governor,
                    "policy": name,
                    "accuracy_on_time": fmean(earned),
                    "late_or_refused": 1 - fmean(o.on_time / o.offered for o in outcomes),
                    "shifting_ahead": ahead.mean,
                    "half_width": ahead.half_width,
                    "switches_per_minute": fmean(o.switches / o.minutes for o in outcomes),
                    "energy_above_idle_mj": fmean(a for a, _ in used),
                    "energy_with_idle_mj": fmean(b for _, b in used),
                    "mean_clock": fmean(float(t.clock.share.mean()) for t in traces if t.clock),
                }
            )
        rows.append({"governor": governor, "policy": "oracle (bound)", "accuracy_on_time": fmean(bound)})
    return rows


def main() -> None:
    """Replay, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolio", type=Path, required=True)
    parser.add_argument("--as-measured", action="store_true", help="Take the latencies of the manifest.")
    parser.add_argument("--claim", default="")
    given = parser.parse_args()
    found = Portfolio.open(given.portfolio) if given.as_measured else timed(given.portfolio)
    ladder, power = ladder_of(found), Power()
    scores = tuple(found.find(p.id).accuracy.get("test", p.accuracy) for p in ladder.profiles)
    target_ms = ROOM * ladder.profiles[-1].latency_ms
    rows = rows_of(ladder, scores, target_ms, power)
    columns = ("governor", "policy", "accuracy_on_time", "late_or_refused", "shifting_ahead", "half_width")
    print(table(rows, (*columns, "energy_above_idle_mj")))
    said = []
    if found.data.get("name") == "random":
        said.append(
            "Accuracies are assumed (random weights): only times, energy and the order of events say something."
        )
    for governor in GOVERNORS:
        here = [row for row in rows if row["governor"] == governor]
        fixed = [row for row in here if row["policy"].startswith("fixed")]
        best = max(fixed, key=lambda row: row["accuracy_on_time"])
        ours, largest, bound = here[0], fixed[-1], here[-1]
        said.append(
            f"{governor}: accuracy on time {ours['accuracy_on_time']:.2%} (modelled), best fixed in hindsight "
            f"({best['policy'][6:]}) {best['accuracy_on_time']:.2%}, largest {largest['accuracy_on_time']:.2%}, bound "
            f"{bound['accuracy_on_time']:.2%}; ahead of the best fixed by {100 * best['shifting_ahead']:+.2f} points "
            f"(+-{100 * best['half_width']:.2f}, 95 %); energy above idle per request "
            f"{ours['energy_above_idle_mj']:.3f} mJ against {largest['energy_above_idle_mj']:.3f} of the largest and "
            f"{fixed[0]['energy_above_idle_mj']:.3f} of the smallest (modelled)."
        )
    said.append(f"Declared power model: {asdict(power)}; modelled, no device was measured.")
    print("\n".join(said))
    rows.append({"what": "power model", **asdict(power)})
    rows += [
        {"what": "ladder", "test": score, **vars(p)} for p, score in zip(ladder.profiles, scores, strict=True)
    ]
    keep(
        Run(
            given.claim or f"dvfs_governor_{found.model.name}",
            "Accuracy on time and energy over modelled governor traces, by policy; modelled from measured latencies.",
            seeds=tuple(range(SEEDS)),
            repeats=f"{SEEDS} traces of up to {MOST} requests for each governor, the same for all policies",
            spread="95 % interval of paired differences over seeds",
        ),
        rows,
        said,
    )


if __name__ == "__main__":
    main()
