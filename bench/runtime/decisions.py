# SPDX-License-Identifier: Apache-2.0
"""How long each policy takes to choose.

python -m bench.runtime.decisions
"""

import time
from typing import Any

import numpy as np

from bench.record import Run, keep, table
from bench.runtime.portfolio import measured_ladder
from edgeshift.runtime import POLICIES
from edgeshift.runtime.simulate import AT_BEST
from edgeshift.runtime.state import Reading, State

CALLS, BLOCKS = 500, 100
TARGET_US = 20.0


def main() -> None:
    """Measure, print, keep."""
    ladder, _ = measured_ladder(20.0)
    readings = {name: Reading(value) for name, value in AT_BEST.items()}
    names = ["fixed", *(n for n in POLICIES.names() if n != "fixed")]
    policies = {name: POLICIES.make(name) for name in names}
    memory: dict[str, tuple[float, ...]] = dict.fromkeys(names, ())
    taken: dict[str, list[float]] = {name: [] for name in names}
    for block in range(BLOCKS):
        for name in names:
            began_ns = time.perf_counter_ns()
            for call in range(CALLS):
                # A queue that fills and empties, so that every branch is taken.
                queued = call % 12
                now_s = block + call / CALLS
                state = State(
                    now_s, 1, 1.0, 0.005 * queued, 0.12, queued, 40.0, 1.0, 0.01, 0.06, readings, memory[name]
                )
                memory[name] = policies[name].choose(state, ladder).memory
            taken[name].append((time.perf_counter_ns() - began_ns) / CALLS / 1000)
    rows: list[dict[str, Any]] = []
    base = float(np.median(taken["fixed"]))
    for name in names:
        low, middle, high = (float(x) for x in np.quantile(taken[name], (0.25, 0.5, 0.95)))
        rows.append(
            {
                "policy": name,
                "us": middle,
                "p95_us": high,
                "least_quarter_us": low,
                "over_fixed": middle / base,
            }
        )
    print(table(rows, list(rows[0])))
    slowest = max(rows, key=lambda r: r["us"])
    mine = next(r for r in rows if r["policy"] == "deadline")
    findings = [
        f"The slowest, {slowest['policy']}, takes {slowest['us']:.1f} us in the median block (target: under "
        f"{TARGET_US:g}), {slowest['least_quarter_us']:.1f} us in the quicker quarter of the blocks; deadline takes "
        f"{mine['us']:.1f} and {mine['least_quarter_us']:.1f} us.",
        "Making the State is inside every figure.",
    ]
    print("\n".join(findings))
    keep(
        Run(
            "runtime_decisions",
            f"Time of one decision of each policy on a ladder of {len(ladder)} variants, in microseconds.",
            repeats=f"medians of {BLOCKS} blocks of {CALLS} calls, policies in turns",
            spread="p95 and lower quartile of the blocks",
        ),
        rows,
        findings,
    )


if __name__ == "__main__":
    main()
