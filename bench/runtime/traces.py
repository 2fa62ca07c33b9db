# SPDX-License-Identifier: Apache-2.0
"""Accuracy on time of every policy on the staged traces, beside each single variant and a bound. Modelled.

    python -m bench.runtime.traces [--seeds 10] [--requests 3000]

Measured latencies and accuracies (record `cifar_resnet20`), 20 times slower so that the rates of the traces fill the
device; the replay is modelled. The policy was tuned on Twitter days 1 to 3, NASA day 2 and the first 1200 s of both
Azure traces; what is reported is Twitter day 10, NASA days 40 and later, and the rest of the Azure traces.
"""

import argparse
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.runtime.portfolio import measured_ladder
from edgeshift.core.progress import Silent
from edgeshift.runtime import POLICIES
from edgeshift.runtime.simulate import Replay
from edgeshift.runtime.simulate_compare import Comparison, Trials, compare
from edgeshift.runtime.state import Ladder
from edgeshift.runtime.traces import modelled_clock, read_arrivals, read_link

SLOWER, DEADLINE_S = 20.0, 0.12
TWITTER, NASA = "rate_twitter_2021-08_day10_per_s.txt.gz", "rate_nasa_http_1995_per_min.txt.gz"
AZURE = "arrivals_azure_llm_2023_{}_ms.csv.gz"


@dataclass(frozen=True)
class Part:
    """A part of a trace that nothing was tuned on.

    Attributes:
        name: In the record.
        file: Of the trace.
        start_s: Where it begins; each seed begins `stride_s` later where the trace is long enough.
        stride_s: 0 = all seeds replay the same part with other luck.
        seconds: Longest part.
    """

    name: str
    file: str
    start_s: float
    stride_s: float = 0.0
    seconds: float = 1200.0


PARTS = (
    Part("Twitter day 10", TWITTER, 0, 8000),
    Part("NASA days 40 on", NASA, 40 * 86400 + 12 * 3600, 86400),
    Part("Azure conversation", AZURE.format("conv"), 1200, 0, 2300),
    Part("Azure code (bursts)", AZURE.format("code"), 1200, 0, 2300),
)
LOADS = (0.3, 0.7, 1.0, 2.0)
SHOWN = ["trace", "load", "policy", "accuracy_on_time", "over_smallest", "over_best", "over_best_ci", "bound"]
LINK = "link_Verizon-LTE-short_up_100ms.csv.gz"


@dataclass(frozen=True)
class Setting:
    """What is tried, and with what around it."""

    part: Part
    load: float
    policies: tuple[str, ...]
    clock: bool = False
    link: str = ""


def run(setting: Setting, ladder: Ladder, scores: tuple[float, ...], seeds: int, requests: int) -> Comparison:
    """All policies of a setting on all its seeds."""
    folder = Path(os.environ["EDGESHIFT_DATA"]) / "traces"
    part, longest_s = setting.part, ladder.profiles[-1].latency_ms / 1000
    link = read_link(folder / setting.link) if setting.link else None

    def trace(seed: int) -> Replay:
        where = {"start_s": part.start_s + seed * part.stride_s, "seconds": part.seconds}
        plain = read_arrivals(folder / part.file, **where)
        scale = setting.load / (len(plain) / (plain[-1] - plain[0]) * longest_s)
        sent = read_arrivals(folder / part.file, **where, scale=scale, seed=seed)[:requests]
        clock = modelled_clock(seed, 1200.0) if setting.clock else None
        return Replay.of(sent, DEADLINE_S, clock=clock, link=link)

    policies = {name: POLICIES.make(name) for name in setting.policies}
    return compare(policies, Trials(ladder, trace, range(seeds), scores), Silent())


def rows_of(setting: Setting, found: Comparison) -> list[dict[str, Any]]:
    """One row per policy, in percent and points."""
    around = "throttled clock" if setting.clock else "LTE uplink" if setting.link else ""
    rows = []
    for s in (*found.standings, *found.statics):
        rows.append(
            {
                "trace": f"{setting.part.name}{', ' if around else ''}{around}",
                "load": setting.load,
                "policy": s.name,
                "accuracy_on_time": 100 * s.accuracy_on_time.mean,
                "over_smallest": 100 * s.over_smallest.mean,
                "over_smallest_ci": 100 * s.over_smallest.half_width,
                "over_best": 100 * s.over_best_static.mean,
                "over_best_ci": 100 * s.over_best_static.half_width,
                "best_static": found.best_static,
                "bound": 100 * found.bound.mean,
                "late": 100 * s.late,
                "refused": 100 * s.refused,
                "queue_full": 100 * s.full,
                "admitted_on_time": 100 * s.admitted_on_time,
                "switches_per_minute": s.switches_per_minute,
                "requests": found.requests,
            }
        )
    return rows


def findings_of(rows: list[dict[str, Any]]) -> list[str]:
    """What the default policy won and lost."""
    mine = [r for r in rows if r["policy"] == "deadline" and "," not in r["trace"]]
    smallest = [r for r in mine if r["over_smallest"] - r["over_smallest_ci"] > 0]
    best = [r for r in mine if r["over_best"] - r["over_best_ci"] > 0]
    worst = min(mine, key=lambda r: r["over_best"])
    least = min(mine, key=lambda r: r["over_smallest"])
    said = [
        f"deadline is above smallest + admission in {len(smallest)} of {len(mine)} cells (trace x load), 95 % interval "
        f"above 0; the least gain is {least['over_smallest']:+.2f} points ({least['trace']}, load {least['load']}).",
        f"It is above the best single variant in hindsight, with the same admission, in {len(best)} of {len(mine)}; "
        f"where it does not help most: {worst['trace']}, load {worst['load']}: {worst['over_best']:+.2f} "
        f"± {worst['over_best_ci']:.2f} points, the best there being {worst['best_static']}.",
        f"Of its admitted requests at least {min(r['admitted_on_time'] for r in mine):.2f} % are on time (target: 98).",
    ]
    for name in sorted({r["trace"] for r in mine}):
        cells = [
            f"{r['load']}: {r['over_smallest']:+.2f} / {r['over_best']:+.2f} ± {r['over_best_ci']:.2f}"
            for r in mine
            if r["trace"] == name
        ]
        said.append(f"{name}, load: points over smallest / over best single: {'; '.join(cells)}.")
    return said


def settings() -> list[Setting]:
    """Every trace at every load, and the caps where there is something to be capped by."""
    twitter = PARTS[0]
    plain = [Setting(part, load, ("deadline", "hysteresis", "pi")) for part in PARTS for load in LOADS]
    heat = Setting(twitter, 0.7, ("deadline", "frequency", "thermal"), clock=True)
    return [*plain, heat, Setting(twitter, 0.7, ("deadline", "network"), link=LINK)]


def _found(task: tuple[Setting, Ladder, tuple[float, ...], int, int]) -> list[dict[str, Any]]:
    return rows_of(task[0], run(*task))


def main() -> None:
    """Replay, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    ladder, scores = measured_ladder(SLOWER)
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        tasks = [(setting, ladder, scores, given.seeds, given.requests) for setting in settings()]
        for setting, found in zip(settings(), pool.map(_found, tasks), strict=True):
            rows += found
            shown: list[Mapping[str, Any]] = [r for r in found if r["policy"] in setting.policies]
            print(table(shown, SHOWN), flush=True)
    findings = findings_of(rows)
    print("\n".join(findings))
    keep(
        Run(
            "runtime_traces",
            "Modelled: accuracy on time of every policy on traces that it was not tuned on, with measured latencies.",
            seeds=tuple(range(given.seeds)),
            repeats=f"{given.seeds} seeds, up to {given.requests} requests each, deadline {1000 * DEADLINE_S:.0f} ms",
            spread="95 % interval of the difference, paired by seed (Student)",
        ),
        rows,
        findings,
    )


if __name__ == "__main__":
    main()
