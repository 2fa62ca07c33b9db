# SPDX-License-Identifier: Apache-2.0
"""Twice as many requests as the device can answer: how many of the admitted are on time, measured and modelled.

    python -m bench.runtime.overload [DIR]

Poisson arrivals at twice the capacity of the largest and of the smallest variant, into the real Switcher on this
machine (measured, from `submit` to the answer) and into the replay with the same profiles (modelled). Capacity is one
over the median latency in the portfolio. Beside the default policy: each end of the ladder with the same admission,
and the largest without.
"""

import argparse
import math
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import Run, keep, table
from bench.runtime.made import portfolio
from edgeshift.core.errors import Rejected
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.policies.deadline import Deadline
from edgeshift.runtime.policies.fixed import Fixed
from edgeshift.runtime.policies.shape import Policy
from edgeshift.runtime.simulate import Replay, replay
from edgeshift.runtime.state import Ladder
from edgeshift.runtime.switcher import Switcher

POLICIES: dict[str, Policy] = {
    "deadline": Deadline(),
    "smallest + admission": Fixed(variant=0),
    "largest + admission": Fixed(variant=-1),
    "largest, no admission": Fixed(variant=-1, reject=False),
}
OVERLOAD = 2.0


class Tally:
    """What became of the requests of one run, counted from several threads."""

    def __init__(self) -> None:
        self.took_s: list[float] = []
        self.refused: dict[str, int] = {}
        self.failed = 0
        self._lock = threading.Lock()

    def ended(self, future: Any, sent_s: float) -> None:
        """One future is done."""
        took_s, error = time.perf_counter() - sent_s, future.exception()
        with self._lock:
            if error is None:
                self.took_s.append(took_s)
            elif isinstance(error, Rejected):
                self.refused[error.code] = self.refused.get(error.code, 0) + 1
            else:
                self.failed += 1

    def denied(self, error: Rejected) -> None:
        """One request was turned away at once."""
        with self._lock:
            self.refused[error.code] = self.refused.get(error.code, 0) + 1


def measured(engine: Engine, policy: Policy, due_s: np.ndarray, deadline_s: float) -> dict[str, Any]:
    """The shares of one run against the Switcher, in percent of what was offered or admitted."""
    shape = tuple(1 if size is None else size for size in engine.inputs[0].shape)
    batch = np.random.default_rng(0).standard_normal((1, *shape[1:])).astype(np.float32)
    tally, pending = Tally(), []
    with Switcher(engine, policy, deadline_ms=1000 * deadline_s) as switcher:
        for _ in range(20):
            switcher.run(batch, deadline_ms=1e6)
        began_s, switches = time.perf_counter(), len(switcher.events())
        for due in due_s:
            wait_s = began_s + due - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            sent_s = time.perf_counter()
            try:
                future = switcher.submit(batch)
            except Rejected as error:
                tally.denied(error)
                continue
            future.add_done_callback(lambda done, sent_s=sent_s: tally.ended(done, sent_s))
            pending.append(future)
        for future in pending:
            future.exception(timeout=60)
        seconds = time.perf_counter() - began_s
        switched = len(switcher.events()) - switches
    on_time = sum(took <= deadline_s for took in tally.took_s)
    return {
        "offered": len(due_s),
        "offered_per_s": len(due_s) / seconds,
        "admitted": len(tally.took_s),
        "on_time": on_time,
        "admitted_on_time": 100 * on_time / max(1, len(tally.took_s)),
        "refused": 100 * sum(tally.refused.values()) / len(due_s),
        "failed": tally.failed,
        "p99_ms": 1000 * float(np.quantile(tally.took_s, 0.99)) if tally.took_s else math.nan,
        "switches_per_minute": 60 * switched / seconds,
    }


def modelled(ladder: Ladder, policy: Policy, due_s: np.ndarray, deadline_s: float) -> dict[str, Any]:
    """The same from the replay."""
    found = replay(policy, ladder, Replay.of(due_s, deadline_s))
    return {
        "offered": found.offered,
        "offered_per_s": found.offered / (60 * found.minutes),
        "admitted": found.on_time + found.missed,
        "on_time": found.on_time,
        "admitted_on_time": 100 * found.admitted_on_time,
        "refused": 100 * (found.refused + found.full) / found.offered,
        "failed": 0,
        "p99_ms": math.nan,
        "switches_per_minute": found.switches / found.minutes,
    }


def main() -> None:
    """Measure, model, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--network", default="resnet56")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="overload-")) / "portfolio"
    portfolio(folder, given.network)
    rows: list[dict[str, Any]] = []
    with Engine(folder) as engine:
        ladder = engine.ladder
        deadline_s = 20 * ladder.profiles[-1].latency_ms / 1000
        for end, name in ((-1, "largest"), (0, "smallest")):
            rate = OVERLOAD * 1000 / ladder.profiles[end].latency_ms
            gaps = np.random.default_rng(1).exponential(1 / rate, math.ceil(rate * given.seconds))
            due_s = np.cumsum(gaps)
            for policy_name, policy in POLICIES.items():
                around = {"overload": f"{OVERLOAD:g}x {name}", "policy": policy_name, "rate": rate}
                rows.append({**around, "kind": "measured", **measured(engine, policy, due_s, deadline_s)})
                rows.append({**around, "kind": "modelled", **modelled(ladder, policy, due_s, deadline_s)})
    print(
        table(
            rows,
            ["overload", "policy", "kind", "rate", "offered_per_s", "admitted_on_time", "refused", "p99_ms"],
        )
    )
    mine = {(r["overload"], r["kind"]): r for r in rows if r["policy"] == "deadline"}
    findings = [
        f"{overload} ({kind}): {r['admitted_on_time']:.2f} % of the admitted on time (target: 98), "
        f"{r['refused']:.1f} % refused, {r['failed']} failed, {r['offered']} offered."
        for (overload, kind), r in mine.items()
    ]
    findings.append(
        "Accuracies of this portfolio are assumed, so none is reported; its latencies are measured."
    )
    print("\n".join(findings))
    times = ", ".join(f"{p.name} {p.latency_ms:.2f}" for p in ladder.profiles)
    keep(
        Run(
            "runtime_overload",
            f"Requests on time at twice the capacity; {given.network}, ms: {times}; "
            f"deadline {1000 * deadline_s:.0f} ms.",
            repeats=f"once, {given.seconds:g} s of Poisson arrivals per row, from one thread",
            spread="none: shares of all requests",
        ),
        [{k: v if v == v else None for k, v in row.items()} for row in rows],
        findings,
    )


if __name__ == "__main__":
    main()
