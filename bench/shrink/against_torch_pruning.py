# SPDX-License-Identifier: Apache-2.0
"""The same dead channels given to Torch-Pruning: does it run, is it exact, what is left, how long does it take?

    python -m bench.shrink.against_torch_pruning [--share 0.6] [--repeats 5] [--only resnet50 ...] [--speed]

Torch-Pruning is told which channels are dead, place by place, as its guide says: dependency graph, group,
check, prune. It cuts in place; we find the channels ourselves and make a copy, both inside our time. Seconds are
processor time of the one thread. Tracing is on either side what depends on the structure alone: their dependency
graph, our recorded run and ties. Seconds are measured by `--speed` alone, which keeps a record of its own. It
compares four times: they are told and we search, they search (`MagnitudePruner.step`) and so do we, they are told
while we cut by a verdict that is there, which holds more than they are told: who else goes with a channel, and they are
told while we look at every number once and do nothing else.
Where a forward spells out its number of heads, its user must change that by hand; here nobody does.
"""

import argparse
import gc
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from bench.networks import Planted
from bench.record import Run, keep, table
from bench.shrink.subjects import make_planted, names, one_thread, parameters
from edgeshift.graph.analyse import Verdict, analyse
from edgeshift.graph.exact import shrink_traced, traced
from edgeshift.graph.prove import compare, trials
from edgeshift.graph.prove import run as run_model
from edgeshift.graph.surgery import copy_module, cut

SEED = 0
EXACT = 1e-9  # relative, in float64: what our own proof asks for
MAX_SECONDS = 30.0  # no further repeat of a network begins after that; the second always does
MODES = {"zero_unread": ("zero", "unread"), "all": ("zero", "constant", "unread")}
ASKED = {"cut_ratio": 5, "all_ratio": 2}  # least ratios of the claim
LEAST = ("read_ratio", "floor_ratio")  # what no search of ours can be above
SAYS = {
    "cut_ratio": "without tracing, they told and we searching",
    "all_ratio": "with tracing, they told and we searching",
    "found_ratio": "without tracing, both searching",
    "told_ratio": "without tracing, they told and we cutting by a verdict",
    "read_ratio": "without tracing, they told and we reading every number once",
    "floor_ratio": "without tracing, they told and we reading every number once and cutting, with nothing between",
}
COLUMNS = (
    *(
        "network",
        "kinds",
        "runs",
        "exact",
        "error",
        "ours_exact",
        "ours_error",
        "skipped",
        "left",
        "ours_left",
    ),
    *("cut_s", "ours_cut_s", "cut_ratio", "all_s", "ours_all_s", "all_ratio", "spread"),
    *("found_s", "found_ratio", "ours_told_s", "told_ratio", "read_ratio", "floor_ratio"),
)
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Cut:
    """What a tool made of a model.

    Attributes:
        model: Smaller.
        trace_s: Seconds until groups could be asked for.
        cut_s: Seconds from there to the smaller model.
        skipped: Places that it refused.
    """

    model: nn.Module
    trace_s: float
    cut_s: float
    skipped: int = 0


def theirs(model: nn.Module, inputs: Inputs, planted: Sequence[Planted]) -> Cut:
    """Torch-Pruning, told what is dead; the model is cut in place."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = inputs[0] if len(inputs) == 1 else inputs
        graph = tp.DependencyGraph().build_dependency(model, example_inputs=example, verbose=False)
        traced_at = time.process_time()
        skipped = 0
        for record in planted:
            strip = record.place.weights[0]
            module = model.get_submodule(strip.tensor.rpartition(".")[0])
            dead = sorted(unit for channels in record.channels.values() for unit in channels)
            indices = strip.index(dead, record.place.units).tolist()
            prune = graph.get_pruner_of_module(module).prune_out_channels
            group = graph.get_pruning_group(module, prune, indices)
            if graph.check_pruning_group(group):
                group.prune()
            else:
                skipped += 1
    return Cut(model, traced_at - start, time.process_time() - traced_at, skipped)


def ours(model: nn.Module, inputs: Inputs) -> Cut:
    """Told nothing; without the proof, as Torch-Pruning has none."""
    start = time.process_time()
    graph, prepare = traced(model, inputs)
    traced_at = time.process_time()
    small = shrink_traced(model, graph, inputs, prepare=prepare, prove_it=False)
    return Cut(small.model, traced_at - start, time.process_time() - traced_at)


def theirs_found(model: nn.Module, inputs: Inputs, share: float) -> float:
    """Seconds of their own search for the smallest channels and of the cut, in place; 0 where it fails."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = inputs[0] if len(inputs) == 1 else inputs
        try:
            pruner = tp.pruner.MagnitudePruner(
                model,
                example,
                tp.importance.MagnitudeImportance(p=2),
                pruning_ratio=share,
                ignored_layers=last,
            )
            start = time.process_time()
            pruner.step()
        except Exception:  # whatever the other tool raises
            return 0.0
        return time.process_time() - start


def ours_told(model: nn.Module, verdict: Verdict) -> float:
    """Seconds of our cut of a copy, when it is known what goes."""
    verdict = replace(verdict, picks={}, masks={}, sizes={})  # what an earlier cut looked up
    start = time.process_time()
    cut(model, verdict)
    return time.process_time() - start


def read_once(model: nn.Module) -> float:
    """Seconds to look at every number of a model once: whoever searches for channels takes at least that."""
    start = time.process_time()
    for tensor in (*model.parameters(), *model.buffers()):
        numbers = tensor.detach().numpy().reshape(-1)
        np.bitwise_or.reduce(numbers.view(np.int32) if numbers.dtype == np.float32 else numbers)
    return time.process_time() - start


def error_of(model: nn.Module, small: nn.Module, inputs: Inputs) -> float:
    """Largest relative difference of two float64 models over random, border and zero inputs."""
    chosen = [i for kind, i in trials(inputs) if kind in ("random", "border", "zeros")]
    return max(compare(model, small, wide(i)) for i in chosen)


def wide(inputs: Inputs) -> Inputs:
    """In float64, integers as they are."""
    return tuple(tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, inputs))


def judge(name: str, share: float, mode: str) -> dict[str, Any]:
    """One row without times: both tools on float64 copies, where rounding hides nothing."""
    model, inputs, planted = make_planted(name, share, SEED, MODES[mode])
    model = model.double()
    row: dict[str, Any] = {"network": name, "kinds": mode, "share": share, "before": parameters(model)}
    row |= {"runs": False, "exact": False}
    small = ours(model, wide(inputs)).model
    error = error_of(model, small, inputs)
    row |= {"ours_left": parameters(small), "ours_error": error, "ours_exact": error <= EXACT}
    theirs_model = copy_module(model)
    try:
        made = theirs(theirs_model, wide(inputs), planted)
        run_model(made.model, wide(inputs))
    except Exception as crash:  # whatever the other tool or the model it left behind raises
        return row | {
            "crash": f"{type(crash).__name__}: {str(crash).strip().splitlines()[0][:120] if str(crash) else ''}"
        }
    error = error_of(model, made.model, inputs)
    row |= {"runs": True, "skipped": made.skipped, "left": parameters(made.model)}
    return row | {"exact": error <= EXACT, "error": error if error < float("inf") else None}


def clock(name: str, share: float, mode: str, repeats: int) -> dict[str, Any]:
    """Medians of both tools' seconds, measured in turns."""
    model, inputs, planted = make_planted(name, share, SEED, MODES[mode])
    tools: tuple[Callable[[], Cut], ...] = (
        lambda: theirs(copy_module(model), inputs, planted),
        lambda: ours(model, inputs),
    )
    seen: tuple[list[Cut], list[Cut]] = ([], [])
    began = time.process_time()
    graph, prepare = traced(model, inputs)
    whole, verdict = prepare(model), analyse(graph)
    founds: list[float] = []
    tolds: list[float] = []
    reads: list[float] = []
    for turn in range(repeats):
        if turn > 1 and time.process_time() - began > MAX_SECONDS:
            break
        for tool, found in zip(tools, seen, strict=True):
            gc.collect()  # neither pays for what the other left
            done = tool()
            found.append(Cut(nn.Identity(), done.trace_s, done.cut_s))
        tolds.append(ours_told(whole, verdict))
        gc.collect()
        reads.append(read_once(model))
        if not founds or founds[-1]:
            founds.append(theirs_found(copy_module(model), inputs, share))
    cuts = [statistics.median(c.cut_s for c in found) for found in seen]
    both = [statistics.median(c.cut_s + c.trace_s for c in found) for found in seen]
    told = statistics.median(tolds)
    found_s = statistics.median(founds)
    ratios = [a.cut_s / b.cut_s for a, b in zip(*seen, strict=True)]
    return {
        "cut_s": cuts[0],
        "ours_cut_s": cuts[1],
        "cut_ratio": cuts[0] / cuts[1],
        "all_s": both[0],
        "ours_all_s": both[1],
        "all_ratio": both[0] / both[1],
        "found_s": found_s or None,
        "found_ratio": found_s / cuts[1] if found_s else None,
        "ours_told_s": told,
        "told_ratio": cuts[0] / told,
        "read_s": statistics.median(reads),
        "read_ratio": cuts[0] / statistics.median(reads),
        "floor_ratio": cuts[0] / (statistics.median(reads) + told),
        "repeats": len(seen[0]),
        "spread": (max(ratios) - min(ratios)) / statistics.median(ratios),
    }


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows say, in sentences."""
    found = []
    for mode in MODES:
        here = [r for r in rows if r["kinds"] == mode]
        if not here:
            continue
        ran, total = [r for r in here if r["runs"]], len(here)
        equal = [r for r in ran if r["exact"]]
        bigger = [r["network"] for r in equal if r["ours_left"] > r["left"]]
        kept = [r["network"] for r in ran if not r["exact"] and r["ours_left"] > r["left"]]
        found.append(
            f"{mode}: Torch-Pruning runs on {len(ran)} of {total} networks and is exact on "
            f"{sum(r['exact'] for r in ran)}; we are exact on {sum(r['ours_exact'] for r in here)}. Where "
            f"theirs is exact, ours is larger on {len(bigger)} of {len(equal)}: {', '.join(bigger) or 'none'}; "
            f"where it is not, on {len(kept)}, since a constant needs a channel there: {', '.join(kept) or 'none'}."
        )
        found += [f"{mode}, {r['network']}: Torch-Pruning fails: {r['crash']}" for r in here if "crash" in r]
        inexact = [
            f"{r['network']} {r['error']:.2g}"
            if r["error"]
            else f"{r['network']} (other shape or not finite)"
            for r in ran
            if not r["exact"]
        ]
        if inexact:
            found.append(f"{mode}: its relative error where it runs inexactly: {', '.join(inexact)}.")
    return found


def paces(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the seconds say, in sentences."""
    timed = [r for r in rows if r.get("cut_ratio")]
    found = []
    for key, says in SAYS.items():
        ratios = sorted(r[key] for r in timed if r[key])
        if not ratios:
            continue
        asked = ASKED.get(key)
        found.append(
            f"theirs / our seconds {says}: median {statistics.median(ratios):.2f}, least {ratios[0]:.2f}, "
            f"most {ratios[-1]:.2f}, over {len(ratios)} networks"
            + (f"; at least {asked}, as asked for, on {sum(r >= asked for r in ratios)}." if asked else "")
            + (f"; below 5 on {sum(r < 5 for r in ratios)}." if key in LEAST else "" if asked else ".")
        )
    return found


def keep_speed(rows: Sequence[dict[str, Any]], repeats: int) -> None:
    """The record of `--speed`."""
    says = "Processor seconds of Torch-Pruning 1.6.1, told the dead channels, and of edgeshift.shrink that finds them."
    keep(
        Run(
            "shrink_speed",
            says,
            seeds=(SEED,),
            repeats=f"medians of up to {repeats}, both tools in turns",
            spread="(largest - smallest) / median of the ratio of seconds without tracing",
        ),
        rows,
        paces(rows),
    )


def speed(chosen: Sequence[str], share: float, repeats: int) -> list[dict[str, Any]]:
    """Seconds on every network that Torch-Pruning runs on."""
    rows = []
    for name in chosen:
        try:
            rows.append({"network": name, "share": share, **clock(name, share, "zero_unread", repeats)})
        except Exception as crash:  # whatever the other tool raises
            print(f"{name}: Torch-Pruning fails: {type(crash).__name__}")
            continue
        print(table(rows[-1:], (COLUMNS[0], *COLUMNS[10:])), flush=True)
    return rows


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--share", type=float, default=0.6)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--speed", action="store_true")
    options.add_argument("--only", nargs="+", default=list(names()))
    chosen = options.parse_args()
    one_thread()
    torch.manual_seed(SEED)
    if chosen.speed:
        timed = speed(chosen.only, chosen.share, chosen.repeats)
        print(*paces(timed), sep="\n")
        if set(chosen.only) == set(names()):
            keep_speed(timed, chosen.repeats)
        return
    rows = []
    for name in chosen.only:
        for mode in MODES:
            row = judge(name, chosen.share, mode)
            rows.append(row)
            print(table([row], COLUMNS[:10]), row.get("crash", ""), flush=True)
    print(table(rows, COLUMNS[:10]), *findings(rows), sep="\n")
    if set(chosen.only) == set(names()):
        says = "The same planted dead channels given to Torch-Pruning 1.6.1 and found by edgeshift.shrink."
        counts = {"repeats": "once: sizes and errors, no times", "spread": "none: counts, not times"}
        keep(Run("shrink_against_torch_pruning", says, seeds=(SEED,), **counts), rows, findings(rows))


if __name__ == "__main__":
    main()
