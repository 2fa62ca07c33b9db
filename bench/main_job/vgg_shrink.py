# SPDX-License-Identifier: Apache-2.0
"""Time to shrink a VGG-16-BN of 15 M parameters, against Torch-Pruning doing the same removal. One thread.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m bench.main_job.vgg_shrink

Filters of every convolution but the last are zero together with their norm's scale and shift, so that both tools may
remove them exactly. Ours: analysis and cut of a copy (the proof is timed apart, Torch-Pruning has none).
Theirs, on copies made beforehand, in two ways: "told" = one pruning group per layer for the dead channels handed to
it, and their removal; "found" = `MagnitudePruner.step` with the share of dead filters, which like ours has to look at
the weights to find them. Tracing is timed apart for all. They run in turns; medians of `ROUNDS`.
"""

import statistics
import time
from copy import deepcopy
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from bench.record import Run, keep
from edgeshift.graph.analyse import analyse
from edgeshift.graph.fronts.torch_export import trace
from edgeshift.graph.prove import compare, prove
from edgeshift.graph.surgery import cut
from edgeshift.models import build, example, resolve

ROUNDS = 15
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)


def planted(share: float) -> tuple[nn.Module, Tensor, dict[str, list[int]]]:
    """A VGG-16-BN with zero filters, an input, and which channels of which convolution are dead."""
    torch.manual_seed(0)
    ref = resolve("vgg16_bn", classes=10, input_shape=(3, 32, 32))
    model = build(ref).eval()
    convs = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    dead: dict[str, list[int]] = {}
    with torch.no_grad():
        for norm in norms:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.1)
        for (name, conv), norm in zip(convs, norms, strict=True):
            gone = torch.randperm(conv.out_channels)[: int(share * conv.out_channels)]
            conv.weight[gone] = 0
            norm.weight[gone] = 0
            norm.bias[gone] = 0
            dead[name] = sorted(gone.tolist())
    return model, example(ref), dead


def timed(work: Any) -> tuple[float, Any]:
    """CPU milliseconds and the result."""
    start = time.process_time()  # of this process alone: the machine is shared
    result = work()
    return (time.process_time() - start) * 1e3, result


def theirs(model: nn.Module, x: Tensor, dead: dict[str, list[int]]) -> tuple[float, float]:
    """Milliseconds of their tracing and of their removal, in place."""
    trace_ms, graph = timed(lambda: torch_pruning.DependencyGraph().build_dependency(model, example_inputs=x))

    def remove() -> None:
        for name, channels in dead.items():
            if channels:
                layer = model.get_submodule(name)
                graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, idxs=channels).prune()

    return trace_ms, timed(remove)[0]


def theirs_found(model: nn.Module, x: Tensor, share: float) -> float:
    """Milliseconds of their own search for the smallest filters and of the removal, in place."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear)]
    pruner = torch_pruning.pruner.MagnitudePruner(
        model, x, torch_pruning.importance.MagnitudeImportance(p=2), pruning_ratio=share, ignored_layers=last
    )
    return timed(pruner.step)[0]


def row(share: float) -> dict[str, Any]:
    """One share of dead filters, both tools in turns."""
    model, x, dead = planted(share)
    times: dict[str, list[float]] = {}
    ours_size = theirs_size = 0
    error = theirs_error = 0.0
    for _ in range(ROUNDS):
        other = deepcopy(model)
        trace_ms, graph = timed(lambda: trace(model, (x,)))
        analyse_ms, verdict = timed(lambda graph=graph: analyse(graph))
        cut_ms, (small, plan) = timed(lambda verdict=verdict: cut(model, verdict))
        their_trace_ms, told_ms = theirs(other, x, dead)
        found_ms = theirs_found(deepcopy(model), x, share)
        for name, value in {
            "trace_ms": trace_ms,
            "analyse_ms": analyse_ms,
            "cut_ms": cut_ms,
            "shrink_ms": analyse_ms + cut_ms,
            "their_trace_ms": their_trace_ms,
            "their_told_ms": told_ms,
            "their_found_ms": found_ms,
        }.items():
            times.setdefault(name, []).append(value)
        ours_size, theirs_size = (sum(p.numel() for p in m.parameters()) for m in (small, other))
        error, theirs_error = compare(model, small, (x,)), compare(model, other, (x,))
    proof_ms, _ = timed(lambda: prove(model, lambda m: m, small, verdict, plan, (x,), 1e-9))
    medians = {name: round(statistics.median(v), 2) for name, v in times.items()}
    return {
        "dead_filters": share,
        "parameters": sum(p.numel() for p in model.parameters()),
        "ours_left": ours_size,
        "theirs_left": theirs_size,
        "ours_error": error,
        "theirs_error": theirs_error,
        **medians,
        "shrink_ms_best": round(min(times["shrink_ms"]), 2),
        "proof_ms": round(proof_ms, 1),
        "told_over_cut": round(medians["their_told_ms"] / medians["cut_ms"], 2),
        "told_over_shrink": round(medians["their_told_ms"] / medians["shrink_ms"], 2),
        "found_over_shrink": round(medians["their_found_ms"] / medians["shrink_ms"], 2),
    }


def main() -> None:
    """Measure, print, keep."""
    torch.set_num_threads(1)
    rows = [row(share) for share in SHARES]
    print(
        "dead   ours ms: analyse + cut = shrink (best)   theirs ms: told, found   theirs/ours: told, found   left"
    )
    for r in rows:
        print(
            f"{r['dead_filters']:4.0%} {r['analyse_ms']:8.1f} + {r['cut_ms']:5.1f} = {r['shrink_ms']:6.1f}"
            f" ({r['shrink_ms_best']:.1f}) {r['their_told_ms']:16.1f}, {r['their_found_ms']:6.1f}"
            f" {r['told_over_shrink']:15.2f}x, {r['found_over_shrink']:5.2f}x"
            f"   {r['ours_left']:,} / {r['theirs_left']:,}"
        )
    half = next(r for r in rows if r["dead_filters"] == 0.5)
    keep(
        Run(
            "vgg_shrink",
            "CPU time to shrink a VGG-16-BN of 14.7 M parameters, tracing apart, against Torch-Pruning.",
            repeats=f"{ROUNDS} each, in turns; medians",
        ),
        rows,
        [
            f"At 50 % dead filters: {half['shrink_ms']} ms (target: at most 60), proof {half['proof_ms']} ms on top.",
            f"Torch-Pruning that must find the filters takes {half['found_over_shrink']} times as long (target: 5).",
            f"Torch-Pruning that is told the filters takes {half['told_over_shrink']} times as long as our analysis"
            f" and cut, and {half['told_over_cut']} times as long as our cut alone, which makes a copy.",
        ],
    )


if __name__ == "__main__":
    main()
