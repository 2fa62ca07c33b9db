# SPDX-License-Identifier: Apache-2.0
"""What would int8, a second thread, another runtime or narrower layers cost? Replayed, then measured.

The last 60 networks of the fleet judge: they were measured after the estimate had its form, and are hidden on every
target; rates and factors come from the first 300. `--tuning` judges on those of the first 300 that have a timeline,
on which the estimate's form was chosen. `--measure` times the narrowed networks beside their parents, in turns;
without it the kept times are used.
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


def asked(networks: list[Network]) -> Samples:
    """Networks without costs."""
    return Samples(np.zeros((len(networks), 0)), np.empty((len(networks), 0)), (), (), tuple(networks))


def main() -> None:
    """All changes; a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--tuning", action="store_true")
    given = parser.parse_args()
    lines = timelines()
    wanted = designs()[:FRESH] if given.tuning else designs()[FRESH:]
    anchors = [design for design in wanted if design.name in lines]
    if given.measure:
        measure(anchors)
        return
    judging = {design.name for design in anchors}
    everything = samples()
    lines = lines | {d.name: to_session(lines[d.name], everything, d.name) for d in anchors}
    which = np.array([n.name in judging for n in everything.networks])
    learnt = ~which & (np.arange(len(which)) < FRESH)
    base = everything.column(BASE)
    profiles = {**everything.profiles, BASE: {**everything.profiles[BASE], "timelines": lines}}
    given_samples = replace(
        everything, cost=np.where(learnt[:, None], everything.cost, np.nan), profiles=profiles
    )
    parents = [n for n, w in zip(everything.networks, which, strict=True) if w]
    rows: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    for change, target in TARGETS.items():
        truth = everything.column(target)
        fitted = MODELS.make("what_if", base=BASE).fit(given_samples, target)
        plain = base[which] * np.nanmedian(truth[learnt] / base[learnt])
        guess = fitted.predict(asked(parents)).value
        rows.append(row(change, guess, plain, truth[which]))
        more.append(
            {"change": change, "judged": "the 300 it was learnt from, in turns", **in_same_visit(fitted)}
        )
        if change == "two threads":
            more.append(
                {"change": change, "judged": f"the other {len(parents) - TOLD} of the last, {TOLD} measured beside",
                 **beside(parents, guess, truth[which], TOLD)}
            )  # fmt: skip
    times = json.loads(NARROWED.read_text())
    fitted = MODELS.make("what_if").fit(given_samples, BASE)
    pairs = [d for d in anchors if d.name in times]
    if not pairs:
        print(table(rows, COLUMNS))
        return
    halves = [network_of(onnx_bytes(narrowed(d)), 1, narrowed(d).name) for d in pairs]
    whole = {n.name: n for n in parents}
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
