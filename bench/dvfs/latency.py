# SPDX-License-Identifier: Apache-2.0
"""Latency over the clock: the shifting portfolio against its largest variant, by dilation and by the spinner.

    python -m bench.dvfs.latency --portfolio build/bench_dvfs/resnet20_nested
    python -m bench.dvfs.latency --portfolio DIR --ways spinner --seconds 4

For each clock one client asks one request after the other through the Switcher. `sensor`: the policy reads the clock
from a cpufreq tree; `inferred`: there is none, and it infers it from its own service time. The spread is the standard
deviation of the medians over the clocks, over their mean. Variants are timed again first: a ladder must be true. All
is done `--repeats` times and judged by the median of the repeats: one noisy clock of a shared machine decides a spread.
"""

import argparse
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

import numpy as np

from bench.dvfs.clock import Dilated, Share, cannot_spin, compiled, spinning, write_cpufreq
from bench.record import Run, keep, table
from edgeshift.formats import open_onnx
from edgeshift.measure import Protocol, latencies
from edgeshift.measure.ratios import fit_clock
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.frequency import Frequency
from edgeshift.runtime.policies.shape import Policy

CLOCKS = (1.0, 0.8, 0.6, 0.5, 0.4)
# The latency to keep, over the median of the largest variant at full clock, asked in the same way.
ROOM = 1.05
POLICIES = ("largest", "shifting, sensor", "shifting, inferred")
# The sensor is read once a second; answers before that and the first ones after it do not count.
SETTLE_S = 1.3


@dataclass(frozen=True)
class Asked:
    """What one cell measures.

    Attributes:
        portfolio: Folder.
        way: "dilation" or "spinner".
        policy: "shifting, sensor", "shifting, inferred" or "largest".
        target_ms: Latency to keep.
        seconds: Per clock.
    """

    portfolio: Path
    way: str
    policy: str
    target_ms: float
    seconds: float

    def chosen(self) -> Policy:
        """The policy."""
        if self.policy == "largest":
            return Fixed(variant=-1, reject=False)
        return Frequency(inner=Fixed(variant=-1, reject=False), target_ms=self.target_ms)


def timed(folder: Path) -> Portfolio:
    """The portfolio with latencies measured now, in turns."""
    found = Portfolio.open(folder)
    sessions = [open_onnx(found.onnx(variant)) for variant in found]
    sample = np.random.default_rng(0).standard_normal((1, *found.model.input_shape), dtype=np.float32)
    for variant, figure in zip(found.variants, latencies(sessions, sample, 1, Protocol()), strict=True):
        found = found.remeasured(variant, (figure,))
    return found


def cell(asked: Asked, core: int, program: Path | None) -> list[dict[str, Any]]:
    """One row for each clock."""
    share, rows = Share(), []
    sample = None
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        backend = Dilated(share) if asked.way == "dilation" else "onnxruntime"
        with Engine(asked.portfolio, backend=backend) as engine:
            spec = engine.inputs[0]
            sample = np.random.default_rng(0).standard_normal([s or 1 for s in spec.shape]).astype(spec.dtype)
            if asked.policy != "shifting, inferred":
                write_cpufreq(root, 1.0)
            with Switcher(engine, asked.chosen(), sensor_root=root) as switcher:
                for clock in CLOCKS:
                    if asked.policy != "shifting, inferred":
                        write_cpufreq(root, clock)
                    share.value = clock if asked.way == "dilation" else 1.0
                    if program is None:
                        rows.append(at(asked, switcher, sample, clock))
                    else:
                        with spinning(program, core, clock):
                            rows.append(at(asked, switcher, sample, clock))
    return rows


def at(asked: Asked, switcher: Switcher, sample: Any, clock: float) -> dict[str, Any]:
    """What answers take at one clock, once policy and sensor have settled."""
    until = time.perf_counter() + SETTLE_S
    while time.perf_counter() < until:
        switcher.run(sample)
    took, chosen = [], {}
    until = time.perf_counter() + asked.seconds
    while time.perf_counter() < until:
        answer = switcher.run(sample)
        took.append(answer.compute_ms)
        chosen[answer.variant] = chosen.get(answer.variant, 0) + 1
    return {
        "way": asked.way,
        "policy": asked.policy,
        "clock": clock,
        "requests": len(took),
        "p50_ms": float(np.median(took)),
        "p95_ms": float(np.percentile(took, 95)),
        "p99_ms": float(np.percentile(took, 99)),
        "variants": {name: round(n / len(took), 3) for name, n in sorted(chosen.items())},
    }


def spread(rows: list[dict[str, Any]]) -> float:
    """Standard deviation of the medians over their mean."""
    medians = [row["p50_ms"] for row in rows]
    return pstdev(medians) / fmean(medians)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolio", type=Path, required=True)
    parser.add_argument("--ways", default="dilation,spinner")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--claim", default="")
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.core})
    found = timed(given.portfolio)
    with Engine(given.portfolio) as engine:
        ladder = engine.ladder
    print(table([vars(p) for p in ladder.profiles], ("name", "latency_ms", "p95_ms", "accuracy")))
    why = cannot_spin()
    rows: list[dict[str, Any]] = []
    said = [f"{found.model.name}, {len(ladder)} of {len(found)} variants in the ladder."]
    for way in given.ways.split(","):
        if way == "spinner" and why:
            said.append(f"The spinner could not run: {why}.")
            continue
        program = compiled(Path("build/bench_dvfs/bin")) if way == "spinner" else None
        repeats = []
        for number in range(given.repeats):
            cells: dict[str, list[dict[str, Any]]] = {}
            target = math.inf
            for policy in POLICIES:
                answers = cell(
                    Asked(given.portfolio, way, policy, target, given.seconds), given.core, program
                )
                if policy == "largest":
                    target = ROOM * answers[0]["p50_ms"]
                cells[policy] = [
                    {
                        "repeat": number,
                        **row,
                        "target_ms": target,
                        "p95_over_target": row["p95_ms"] / target,
                    }
                    for row in answers
                ]
                rows += cells[policy]
                columns = ("repeat", "policy", "clock", "requests", "p50_ms", "p95_ms", "p95_over_target")
                print(table(cells[policy], columns), flush=True)
            repeats.append(cells)
        said += judged(way, repeats, ladder.profiles[0].latency_ms)
    rows += [{"what": "ladder", **vars(p)} for p in ladder.profiles]
    print("\n".join(said))
    keep(
        Run(
            given.claim or f"dvfs_latency_{found.model.name}",
            "Latency over the clock of a portfolio that shifts against its largest variant; the clock is emulated.",
            repeats=f"{given.repeats} times: one client for {given.seconds:g} s per clock after {SETTLE_S} s, "
            f"clocks {CLOCKS}",
            spread="p50, p95 and p99 of single answers",
        ),
        rows,
        said,
    )


def judged(way: str, repeats: list[dict[str, list[dict[str, Any]]]], least_ms: float) -> list[str]:
    """Sentences about one way.

    Args:
        way: "dilation" or "spinner".
        repeats: Rows of each policy, for each repeat.
        least_ms: Latency of the smallest variant at full clock.
    """
    fixed = [spread(cells["largest"]) for cells in repeats]
    said = [f"{way}, {len(repeats)} repeats: spread of the largest variant {among(fixed, '.1%')}."]
    if way == "spinner":
        times = np.median([[row["p50_ms"] for row in cells["largest"]] for cells in repeats], axis=0)
        a, b = fit_clock(CLOCKS, times.tolist())
        said.append(f"spinner: the largest variant takes {a:.3f} / f + {b:.3f} ms.")
    wanted = 5 if way == "dilation" else 3
    for policy in POLICIES[1:]:
        lower = [f / spread(cells[policy]) for f, cells in zip(fixed, repeats, strict=True)]
        possible = [
            [r["p95_over_target"] for r in cells[policy] if least_ms / r["clock"] <= r["target_ms"]]
            for cells in repeats
        ]
        said.append(
            f"{way}, {policy}: spread {among([spread(cells[policy]) for cells in repeats], '.1%')}, "
            f"{among(lower, '.1f')} times lower (asked {wanted}); p95 at most "
            f"{among([max(found) for found in possible], '.2f')} of the target at the clocks at which it can be met "
            f"({min(map(len, possible))} of {len(CLOCKS)}; asked 1.2)."
        )
    return said


def among(values: list[float], form: str) -> str:
    """The median, and the range where there are several."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
