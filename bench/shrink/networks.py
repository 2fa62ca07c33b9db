# SPDX-License-Identifier: Apache-2.0
"""Every network with planted dead channels: is it traced, exact, and does all go that can?

    python -m bench.shrink.networks [--shares 0.6 0.9 0.3] [--only resnet50 ...]

Rows are kept in build/bench/networks, so a run that was stopped goes on; remove the folder to measure anew.
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.shrink.subjects import gone, make_planted, names, one_thread, parameters
from edgeshift.core.errors import NotExact, Untraceable
from edgeshift.core.files import read_json, write_json
from edgeshift.graph.exact import shrink_traced, traced

SEED = 0
FOLDER = Path("build/bench/networks")
WHY = {
    "densenet40_12": "norms make constants other than zero of the planted zeros; where padded convolutions read them, "
    "one channel stays that carries the others",
}
COLUMNS = (
    *(
        "network",
        "share",
        "traced",
        "exact",
        "float64_error",
        "float32_error",
        "planted",
        "removable",
        "removed",
    ),
    *("removed_share", "parameters", "parameters_after", "trace_s", "cut_s", "prove_s", "unruled"),
)


def measure(name: str, share: float) -> dict[str, Any]:
    """One row: shrink, prove, and count what went at each place."""
    model, inputs, planted = make_planted(name, share, SEED)
    row: dict[str, Any] = {"network": name, "share": share, "planted": sum(p.count for p in planted)}
    row |= {"removable": sum(p.removable for p in planted), "traced": False, "exact": False}
    clock = [time.perf_counter()]
    try:
        graph, prepare = traced(model, inputs)
        clock.append(time.perf_counter())
        small = shrink_traced(model, graph, inputs, prepare=prepare, prove_it=False)
        clock.append(time.perf_counter())
        proof = shrink_traced(model, graph, inputs, prepare=prepare).proof
        clock.append(time.perf_counter())
    except Untraceable as error:
        return row | {"error": str(error)}
    except NotExact as error:
        return row | {"traced": True, "error": str(error)}
    assert proof is not None
    trace_s, cut_s, both_s = (b - a for a, b in itertools.pairwise(clock))
    went = {p.place.name + "/" + p.place.weights[0].tensor: (gone(model, small.model, p), p) for p in planted}
    removed = sum(min(n, p.removable) for n, p in went.values())
    return row | {
        "traced": True,
        "exact": True,
        "float64_error": proof.max_error_float64,
        "float32_error": proof.max_error,
        "removed": removed,
        "removed_share": removed / row["removable"],
        "short": {k: [n, p.removable] for k, (n, p) in went.items() if n < p.removable},
        "parameters": parameters(model),
        "parameters_after": parameters(small.model),
        "trace_s": trace_s,
        "cut_s": cut_s,
        "prove_s": both_s - cut_s,
        "unruled": sum(small.report.unruled.values()),
        "unruled_operators": dict(small.report.unruled),
        "pinned": list(small.report.pinned),
    }


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows say, in sentences."""
    exact = [r for r in rows if r["exact"]]
    short = [r for r in exact if r["removed"] < r["removable"]]
    found = [
        f"{len(rows)} runs of {len({r['network'] for r in rows})} networks: "
        f"{sum(r['traced'] for r in rows)} traced, {len(exact)} proved exact, {len(exact) - len(short)} lost all "
        "channels that the rules say can go."
    ]
    if exact:
        worst64, worst32 = (max(r[key] for r in exact) for key in ("float64_error", "float32_error"))
        found.append(f"Largest relative error: {worst64:.2g} in float64, {worst32:.2g} in float32.")
    found += [
        f"{r['network']} at {r['share']:.0%}: {r['removed']} of {r['removable']}; short at {r['short']}"
        + (f"; {WHY[r['network']]}" if r["network"] in WHY else "")
        for r in short
    ]
    return found + [f"{r['network']} at {r['share']:.0%}: {r['error']}" for r in rows if "error" in r]


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--shares", type=float, nargs="+", default=[0.6, 0.9, 0.3])
    options.add_argument("--only", nargs="+", default=list(names()))
    chosen = options.parse_args()
    one_thread()
    rows: list[dict[str, Any]] = []
    for share in chosen.shares:
        for name in chosen.only:
            kept = FOLDER / f"{share}-{name}.json"
            if not kept.is_file():  # a run that was stopped goes on with the next network
                write_json(kept, measure(name, share))
            rows.append(read_json(kept))
            print(table(rows[-1:], COLUMNS), rows[-1].get("short") or rows[-1].get("error") or "", flush=True)
        if set(chosen.only) == set(names()):
            says = "Planted dead channels: traced, exact, and share of the removable ones that went."
            spread = "none: times were taken once"
            keep(Run("shrink_networks", says, seeds=(SEED,), spread=spread), rows, findings(rows))
    print(table(rows, COLUMNS), *findings(rows), sep="\n")


if __name__ == "__main__":
    main()
