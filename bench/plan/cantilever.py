# SPDX-License-Identifier: Apache-2.0
"""Self-directed online learning against direct search on the 6x6 cantilever, 600 true evaluations each.

    python -m bench.plan.cantilever [--seeds 0,1,2,3,4] [--budget 600]

Options of both solvers were chosen on seeds 100 to 102, which are not among these.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

from bench.record import Run, keep, table

EXAMPLE = Path(__file__).parents[2] / "examples" / "cantilever.py"


def main() -> None:
    """Solve, compare, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--budget", type=int, default=600)
    words = parser.parse_args()
    spec = importlib.util.spec_from_file_location("cantilever", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    beam = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(beam)
    seeds = [int(s) for s in words.seeds.split(",")]
    best = beam.reference()
    rows = []
    for seed in seeds:
        row: dict[str, float] = {"seed": seed}
        for solver in ("surrogate", "evolution"):
            value, calls, _, seconds = beam.solved(solver, words.budget, seed)
            row |= {solver: value, f"{solver}_calls": calls, f"{solver}_s": seconds}
        drawn = beam.SPACE.sample(words.budget, np.random.default_rng(seed))
        row["random"] = min(beam.compliance(d / beam.SPACE.steps) for d in drawn)
        row["ratio"] = row["surrogate"] / row["evolution"]
        row["over_reference"] = row["surrogate"] / best
        rows.append(row)
        print(row, flush=True)
    print(table(rows, list(rows[0])))
    won = sum(r["ratio"] <= 1 for r in rows)
    near = sum(r["over_reference"] <= 1.3 for r in rows)
    means = {k: float(np.mean([r[k] for r in rows])) for k in ("surrogate", "evolution", "random")}
    findings = [
        f"The surrogate is no worse than direct search in {won} of {len(rows)} seeds (target: 4 of 5).",
        f"Mean compliance: surrogate {means['surrogate']:.2f}, direct search {means['evolution']:.2f}, random "
        f"{means['random']:.2f}; with derivatives {best:.2f}, uniform {beam.compliance(np.full(36, 0.5)):.2f}.",
        f"Within 1.3 of the method with derivatives in {near} of {len(rows)} seeds.",
        "Chosen on seeds 100 to 102: the surrogate's options out of 6 settings (2 seeds), direct search's out of 4 (3 "
        "seeds). A direct search of another design reached 20.1 to 20.4 in an earlier trial, below both means here: "
        "direct search is not at its best.",
    ]
    print(*findings, sep="\n")
    run = Run(
        "plan_cantilever",
        f"Surrogate loop against direct search on a 6x6 cantilever, {words.budget} true evaluations each.",
        seeds=tuple(seeds),
        repeats="once per seed; seconds are of a loaded machine",
        spread="none",
    )
    keep(run, rows, findings)


if __name__ == "__main__":
    main()
