# SPDX-License-Identifier: Apache-2.0
"""What would int8, a second thread, another runtime or narrower layers cost? Replayed, then measured.

The last 60 networks of the fleet judge: they were measured after the estimate had its form, and are hidden on every
target; rates and factors come from the first 300. `--tuning` judges on those of the first 300 that have a timeline,
on which the estimate's form was chosen. `--measure` times the narrowed networks beside their parents, in turns, and
`--measure-threads` every network on one thread and two, in turns and in mixed order; without them the kept times are
used.
"""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.fleet.load import DATA, FRESH, designs, samples, timelines
from bench.fleet.measure import Canary, timed
from bench.fleet.members import members, open_on
from bench.fleet.onnx_file import onnx_bytes
from bench.fleet.spaces import Design
from bench.record import Run, keep, table
from edgeshift.predict import MODELS
from edgeshift.predict.models.what_if import Replayed
from edgeshift.predict.network import Network
from edgeshift.predict.onnx_network import network_of
from edgeshift.predict.samples import Samples

BASE = "ort-t1-b1"
TARGETS = {"int8": "ort-int8-t1-b1", "two threads": "ort-t2-b1", "another runtime": "openvino-t1-b1"}
NARROWED = DATA / "narrowed.json"
# Every network on one thread and on two in one visit; the members of the fleet were visited one after the other, and
# what it costs to wake a second thread is not the same in every visit.
IN_TURNS = DATA / "threads.json"
# Networks measured beside the judges in the second look at threads: a handful, a second's work.
TOLD = 5
COLUMNS = ["change", "networks", "mape", "within_10", "baseline_mape", "spearman"]
SAYS = (
    "A timeline measured on one ONNX Runtime thread, replayed with a change applied, against what the changed network "
    "then took. Baseline: the parent's time multiplied by the median factor of the other networks (int8, threads, "
    "runtime), or by the ratio of MACs (narrower). Measured beside: a constant per kernel is corrected by that many "
    "networks of the judges' own visit; the idea came from the errors on these same networks."
)


def narrowed(design: Design, share: float = 0.5) -> Design:
    """The network with a share of the channels of every layer; the classifier keeps its ten."""
    layers = []
    last = len(design.layers) - 1
    for place, layer in enumerate(design.layers):
        keeps = layer.op not in ("conv", "fc") or (place == last or (layer.op == "conv" and layer.out == 10))
        out = layer.out if keeps else max(2, math.ceil(layer.out * share))
        layers.append(replace(layer, out=out))
    # Depthwise layers have as many groups as the layer before them has channels now.
    changed = replace(design, name=f"{design.name}/half", layers=tuple(layers))
    before = design.shapes()
    after: list[tuple[int, int, int]] = changed.shapes()
    for place, layer in enumerate(design.layers):
        came = layer.inputs[0]
        if layer.op == "conv" and layer.groups > 1 and layer.groups == (before[came][0] if came >= 0 else 3):
            layers[place] = replace(layers[place], groups=after[came][0], out=after[came][0])
        elif layer.op == "conv" and layer.groups > 1:
            layers[place] = replace(layers[place], groups=1)
    return replace(changed, layers=tuple(layers))


def measure(wanted: list[Design]) -> None:
    """Parents and halves in turns; keeps `[parent ms, half ms]` by name."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    canary, member = Canary(os.sched_getaffinity(0)), members()[BASE]
    found: dict[str, list[float]] = json.loads(NARROWED.read_text()) if NARROWED.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        for design in wanted:
            calls = [open_on(member, d, Path(name)) for d in (design, narrowed(design))]
            visits = [[timed(call, canary)["ms"] for call in calls] for _ in range(3)]
            found[design.name] = np.min(visits, axis=0).round(5).tolist()
    NARROWED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def measure_threads() -> None:
    """Every network on one thread and two, in turns; keeps `[one ms, two ms]` by name, goes on where it stopped."""
    everywhere = os.sched_getaffinity(0)
    # One thread is held to one core, as for the members of the fleet.
    held = {BASE: {max(everywhere)}, TARGETS["two threads"]: everywhere}
    canaries = {}
    for name, cores in held.items():
        os.sched_setaffinity(0, cores)
        canaries[name] = Canary(cores)
    found: dict[str, list[float]] = json.loads(IN_TURNS.read_text()) if IN_TURNS.exists() else {}
    order = [d for d in designs() if d.name not in found]
    np.random.default_rng(0).shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        for design in order:
            best: dict[str, list[float]] = {name: [] for name in held}
            calls = {}
            for name, cores in held.items():
                os.sched_setaffinity(0, cores)
                calls[name] = open_on(members()[name], design, Path(folder))
            for _ in range(2):
                for name, cores in held.items():
                    os.sched_setaffinity(0, cores)
                    best[name].append(timed(calls[name], canaries[name])["ms"])
            found[design.name] = [round(min(times), 5) for times in best.values()]
            IN_TURNS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    os.sched_setaffinity(0, everywhere)


def in_one_visit(everything: Samples) -> Samples:
    """The fleet with one thread and two as they were timed in turns; networks that were not are unknown there."""
    times = json.loads(IN_TURNS.read_text())
    cost = everything.cost.copy()
    for place, name in enumerate((BASE, TARGETS["two threads"])):
        cost[:, everything.devices.index(name)] = [
            times.get(n.name, [math.nan] * 2)[place] for n in everything.networks
        ]
    return replace(everything, cost=cost)


def to_session(line: dict[str, Any], everything: Samples, name: str) -> dict[str, Any]:
    """A timeline whose sum is what the network takes in the table: its shares may be of another session."""
    whole = everything.column(BASE)[[n.name for n in everything.networks].index(name)]
    share = whole / (line["call_ms"] + sum(ms for _, _, ms in line["tasks"]))
    return {"tasks": [[n, op, ms * share] for n, op, ms in line["tasks"]], "call_ms": line["call_ms"] * share}


def row(change: str, guess: np.ndarray, plain: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Errors of one change."""
    known = ~np.isnan(truth)
    guess, plain, truth = guess[known], plain[known], truth[known]
    gap = np.abs(guess / truth - 1)
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (guess, truth)]
    return {
        "change": change,
        "networks": len(truth),
        "mape": 100 * float(gap.mean()),
        "within_10": 100 * float((gap <= 0.1).mean()),
        "baseline_mape": 100 * float(np.abs(plain / truth - 1).mean()),
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
    }


def in_same_visit(fitted: Replayed) -> dict[str, Any]:
    """Errors on the networks that the change was learnt from, each predicted by a fit that did not see it."""
    gap = np.abs(np.expm1(fitted.line.residuals))
    return {
        "networks": len(gap), "mape": 100 * float(gap.mean()), "within_10": 100 * float((gap <= 0.1).mean())
    }  # fmt: skip


def beside(
    networks: Sequence[Network], guess: np.ndarray, truth: np.ndarray, told: int, draws: int = 200
) -> dict[str, Any]:
    """Errors once a constant per kernel is corrected by `told` networks measured in the judges' own visit.

    What it costs to wake a second thread differs from visit to visit, by about a microsecond per kernel. The constant
    is a relative least-squares fit to the told networks, drawn at random; the others judge; means over draws.
    """
    kernels = np.array([len(network.kernel_rows) for network in networks], float)
    rng = np.random.default_rng(0)
    mape, within = [], []
    for _ in range(draws):
        order = rng.permutation(len(networks))
        few, judges = order[:told], order[told:]
        share, gap = kernels[few] / truth[few], guess[few] / truth[few] - 1
        changed = guess[judges] - float(share @ gap / (share @ share)) * kernels[judges]
        error = np.abs(changed / truth[judges] - 1)
        mape.append(float(error.mean()))
        within.append(float((error <= 0.1).mean()))
    return {"networks": len(networks) - told, "mape": 100 * float(np.mean(mape)),
            "within_10": 100 * float(np.mean(within))}  # fmt: skip


def hidden(everything: Samples, lines: dict[str, Any], judges: Sequence[Design]) -> Samples:
    """The fleet without what the judges took, and without networks that came after the first 300; their timelines."""
    judging = {design.name for design in judges}
    learnt = [i < FRESH and n.name not in judging for i, n in enumerate(everything.networks)]
    own = lines | {d.name: to_session(lines[d.name], everything, d.name) for d in judges}
    profiles = {**everything.profiles, BASE: {**everything.profiles[BASE], "timelines": own}}
    return replace(
        everything, cost=np.where(np.array(learnt)[:, None], everything.cost, np.nan), profiles=profiles
    )


def replayed(
    everything: Samples, lines: dict[str, Any], judges: Sequence[Design], change: str, target: str
) -> tuple[dict[str, Any], Replayed, np.ndarray, np.ndarray]:
    """The row of one change, its fit, and for the judges what was predicted and what they took."""
    known, place = hidden(everything, lines, judges), {n.name: i for i, n in enumerate(everything.networks)}
    which = [place[d.name] for d in judges]
    fitted = MODELS.make("what_if", base=BASE).fit(known, target)
    guess = fitted.predict(asked([everything.networks[i] for i in which])).value
    plain = everything.column(BASE)[which] * np.nanmedian(known.column(target) / known.column(BASE))
    truth = everything.column(target)[which]
    return row(change, guess, plain, truth), fitted, guess, truth


def asked(networks: list[Network]) -> Samples:
    """Networks without costs."""
    return Samples(np.zeros((len(networks), 0)), np.empty((len(networks), 0)), (), (), tuple(networks))


def main() -> None:
    """All changes; a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--measure-threads", action="store_true")
    parser.add_argument("--tuning", action="store_true")
    given = parser.parse_args()
    lines = timelines()
    wanted = designs()[:FRESH] if given.tuning else designs()[FRESH:]
    anchors = [design for design in wanted if design.name in lines]
    if given.measure:
        measure(anchors)
        return
    if given.measure_threads:
        measure_threads()
        return
    everything = samples()
    rows: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    for change, target in TARGETS.items():
        said, fitted, guess, truth = replayed(everything, lines, anchors, change, target)
        rows.append(said)
        more.append(
            {"change": change, "judged": "the 300 it was learnt from, in turns", **in_same_visit(fitted)}
        )
        if change == "two threads":
            known = {n.name: n for n in everything.networks}
            parents = [known[d.name] for d in anchors]
            more.append(
                {"change": change, "judged": f"the other {len(parents) - TOLD} of the last, {TOLD} measured beside",
                 **beside(parents, guess, truth, TOLD)}
            )  # fmt: skip
            visit = in_one_visit(everything)
            rows.append(replayed(visit, lines, anchors, f"{change}, all in one visit", target)[0])
    given_samples, base = hidden(everything, lines, anchors), everything.column(BASE)
    times = json.loads(NARROWED.read_text())
    fitted = MODELS.make("what_if").fit(given_samples, BASE)
    pairs = [d for d in anchors if d.name in times]
    if not pairs:
        print(table(rows, COLUMNS))
        return
    halves = [network_of(onnx_bytes(narrowed(d)), 1, narrowed(d).name) for d in pairs]
    whole = {n.name: n for n in everything.networks}
    # Both were timed side by side: the ratio is what was measured, the timeline's parent gives the scale.
    scale = np.array([base[[n.name for n in everything.networks].index(d.name)] for d in pairs])
    truth = scale * np.array([times[d.name][1] / times[d.name][0] for d in pairs])
    plain = scale * np.array([half.macs / whole[d.name].macs for half, d in zip(halves, pairs, strict=True)])
    rows.append(row("half the channels", fitted.predict(asked(halves)).value, plain, truth))
    print(table(rows, COLUMNS))
    print(table(more, ["change", "judged", "networks", "mape", "within_10"]))
    if given.tuning:
        return
    findings = [
        f"{r['change']}: MAPE {r['mape']:.1f} % (baseline {r['baseline_mape']:.1f} %), {r['within_10']:.0f} % of "
        f"{r['networks']} networks within 10 %: {'met' if r['mape'] <= 10 else 'not met'}."
        for r in rows
    ]
    findings += [
        f"{r['change']}, {r['judged']}: MAPE {r['mape']:.1f} %, {r['within_10']:.0f} % of {r['networks']} networks "
        "within 10 %."
        for r in more
    ]
    run = Run("predict_what_if", SAYS, repeats="see the fleet's README", spread="none: errors")
    keep(run, [*rows, *more], findings)


if __name__ == "__main__":
    main()
