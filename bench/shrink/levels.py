# SPDX-License-Identifier: Apache-2.0
"""Eight levels of one network: traced once and shrunk eight times, against Torch-Pruning pruning eight models.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m bench.shrink.levels [--repeats 5]

The levels are one network with more and more dead channels planted (zero and unread), as a portfolio has them. Ours:
`trace` once, then `shrink_traced` on the numbers of each level, which finds the channels; the proof is timed apart.
Theirs, on copies made beforehand: a dependency graph per level, since pruning changes it, and one pruning group per
place for the channels they are told. Processor seconds, in turns.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from bench.networks import Planted
from bench.record import Run, keep, table
from bench.shrink.against_torch_pruning import MODES, Inputs, error_of, theirs, wide
from bench.shrink.subjects import make_planted, one_thread, parameters
from edgeshift.graph.exact import shrink_traced
from edgeshift.graph.fronts.torch_export import trace, with_numbers
from edgeshift.graph.surgery import copy_module

SEED = 0
NETWORKS = ("resnet20", "vgg16_bn", "resnet56", "mobilenetv2", "resnet50")
SHARES = tuple(1 - 0.75**k for k in range(1, 9))  # dead channels of each level
COLUMNS = (
    *("network", "trace_s", "ours_s", "theirs_s", "theirs_cut_s", "ratio", "spread", "prove_s"),
    *("parameters", "smallest", "theirs_smallest", "theirs_exact", "ours_exact"),
)
Level = tuple[nn.Module, Inputs, Sequence[Planted]]


def ours(levels: Sequence[Level], *, prove_it: bool = False) -> tuple[float, float, list[nn.Module]]:
    """Seconds of the one trace, of all levels together, and the small models."""
    start = time.process_time()
    graph = trace(levels[0][0], levels[0][1])
    traced_at = time.process_time()
    small = [
        shrink_traced(model, with_numbers(graph, model), inputs, prove_it=prove_it).model
        for model, inputs, _ in levels
    ]
    return traced_at - start, time.process_time() - start, small


def row_of(name: str, repeats: int) -> dict[str, Any]:
    """One network, both tools in turns."""
    levels: list[Level] = [make_planted(name, share, SEED, MODES["zero_unread"]) for share in SHARES]
    seen: list[tuple[float, float, float, float]] = []
    ours(levels)  # what is loaded on first use
    theirs(copy_module(levels[0][0]), levels[0][1], levels[0][2])
    for _ in range(repeats):
        trace_s, ours_s, small = ours(levels)
        cuts = [theirs(copy_module(model), inputs, planted) for model, inputs, planted in levels]
        cut_s = sum(c.cut_s for c in cuts)
        seen.append((trace_s, ours_s, cut_s + sum(c.trace_s for c in cuts), cut_s))
    medians = [statistics.median(column) for column in zip(*seen, strict=True)]
    ratios = [s[2] / s[1] for s in seen]
    return {
        "network": name,
        "trace_s": medians[0],
        "ours_s": medians[1],
        "theirs_s": medians[2],
        "theirs_cut_s": medians[3],
        "ratio": medians[2] / medians[1],
        "cut_ratio": medians[3] / (medians[1] - medians[0]),
        "spread": (max(ratios) - min(ratios)) / statistics.median(ratios),
        "prove_s": ours(levels, prove_it=True)[1] - medians[1],
        "parameters": parameters(levels[0][0]),
        "smallest": parameters(small[-1]),
        "theirs_smallest": parameters(cuts[-1].model),
        "ours_exact": exact([m for m, _, _ in levels], small, levels[0][1]),
        "theirs_exact": exact([m for m, _, _ in levels], [c.model for c in cuts], levels[0][1]),
    }


def exact(models: Sequence[nn.Module], small: Sequence[nn.Module], inputs: Inputs) -> int:
    """How many of the small models compute what theirs does, in float64."""
    pairs = [(copy_module(a).double(), copy_module(b).double()) for a, b in zip(models, small, strict=True)]
    return sum(error_of(a, b, wide(inputs)) <= 1e-9 for a, b in pairs)


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows say, in sentences."""
    found = [
        f"{r['network']}: eight levels in {r['ours_s'] * 1000:.0f} ms, {r['trace_s'] * 1000:.0f} to trace; "
        f"Torch-Pruning {r['theirs_s'] * 1000:.0f} ms, of which its cuts {r['theirs_cut_s'] * 1000:.0f}: "
        f"{r['ratio']:.2f} times ours, {r['cut_ratio']:.2f} times without tracing on either side; "
        f"exact {r['ours_exact']} of 8 against {r['theirs_exact']}; our proofs {r['prove_s']:.1f} s on top."
        for r in rows
    ]
    ratios = sorted(r["ratio"] for r in rows)
    return [
        *found,
        f"Eight levels: median {statistics.median(ratios):.2f} of {len(ratios)} networks, with tracing.",
    ]


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--only", nargs="+", default=list(NETWORKS))
    chosen = options.parse_args()
    one_thread()
    rows = []
    for name in chosen.only:
        rows.append(row_of(name, chosen.repeats))
        print(table(rows[-1:], COLUMNS), flush=True)
    print(*findings(rows), sep="\n")
    if tuple(chosen.only) == NETWORKS:
        says = "Eight levels of one network: traced once and shrunk, against Torch-Pruning 1.6.1 told the channels."
        repeats = f"medians of {chosen.repeats}, both tools in turns"
        spread = "(largest - smallest) / median of the ratio"
        keep(Run("shrink_levels", says, seeds=(SEED,), repeats=repeats, spread=spread), rows, findings(rows))


if __name__ == "__main__":
    main()
