# SPDX-License-Identifier: Apache-2.0
"""Portfolios and records of what `bench.train.together` trained: shrunk, exported and timed on this machine.

    python -m bench.train.together --out build/together --seconds 3600     # on a GPU
    python -m bench.train.figures --trained build/together                 # here: exact, proved, one thread

Jobs that are not finished are named and left out. A dense VGG-16 need not have come along (59 MB): its accuracy was
judged where it was trained, by the same code, and its latency does not depend on its weights.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.record import RECORDS, Run, keep, table
from bench.train.portfolios import export, export_nested, from_levels
from bench.train.together import FIRST_PASS, HALF, QUARTER, jobs, judged
from edgeshift.core.values import Measurement, ModelRef, Variant
from edgeshift.data import open_set
from edgeshift.derive.job import Job
from edgeshift.formats import export_onnx, open_onnx
from edgeshift.graph import shrink
from edgeshift.measure import latencies
from edgeshift.models import build as build_model
from edgeshift.models import example, load_weights, resolve
from edgeshift.portfolio import Portfolio
from edgeshift.train.accuracy import batches_of
from edgeshift.train.checkpoint import Folder
from edgeshift.train.macs import counted

POINTS, SMALLER, FASTER = 0.5, 10.0, 2.5
# Points that a ratio of one weight set may lie under the same ratio trained alone.
BEHIND = 0.7
# Runs whose portfolio is no headline: room is kept for those.
UNKEPT = ("r8-aio-0", "r20-aio-0", "vgg-aio-0", "r56-on-0")
# Runs of which accuracy alone is asked, which was judged where they were trained.
JUDGED_ONLY = ("r20-eight-aio-0", "vggfirst-aio-0")
# Runs of which no ratio above this one is kept: room again.
KEPT_FROM = {"vggfirst-aio-0": 0.6}
# Runs of few epochs -> the name under which each of their ratios was trained alone.
SHORT_RUNS = {"r20-eight": "r20-eight", "r20-near": "r20-eight"}
NETWORKS = {"r20": "cifar10_resnet20", "r56": "cifar10_resnet56"}
GOALS = {"r56": {0.5: 0.3, 0.25: 1.5}, "r20": {0.5: 1.0}}
# Runs that go on from what another run made of the network: the model they begin with, and that run.
AGAIN = {"again": (HALF, "r56-soft-0.5"), "on": (QUARTER, "r56-again-0")}
METHOD = {"tp": "torch_pruning", **dict.fromkeys(("soft", "ranked", "again", "on"), "soft_masking")}
# Runs whose first level is what they made, not what they began with.
ONE_LEVEL = ("tp", "on")


def said(folder: Path) -> dict[str, Any]:
    """What the trainer said of a job: facts, and accuracy on test by kept share."""
    facts = json.loads((folder / "facts.json").read_text())
    judged = [json.loads(p.read_text()) for p in sorted(folder.glob("test-*.json"))]
    return {**facts, "test": {j["kept"]: j["test"] for j in judged}}


def epochs(folder: Path) -> list[int]:
    """Epochs of each level."""
    return [len(p.read_text().splitlines()) for p in sorted((folder / "levels").glob("level-*.jsonl"))]


def timed(portfolio: Portfolio, ref: ModelRef) -> tuple[Measurement, ...]:
    """Latency of the whole network with any weights, and of every variant, in turns."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "whole.onnx"
        export_onnx(build_model(ref).eval(), example(ref), path)
        files = [path.read_bytes(), *(portfolio.read(v, "onnx") for v in portfolio)]
    sessions = [open_onnx(file, 1) for file in files]
    one = np.random.default_rng(0).standard_normal((1, *ref.input_shape), dtype=np.float32)
    return latencies(sessions, one)


@dataclass(frozen=True)
class Whole:
    """The network that variants are judged against: accuracies 0..1, parameters, multiply-accumulates, latency."""

    test: float
    validation: float
    parameters: int
    macs: float
    latency_ms: float


def row(run: str, variant: Variant, latency: Measurement, whole: Whole, trained_on: str) -> dict[str, Any]:
    """One variant beside its whole network."""
    test = variant.accuracy["test"]
    return {
        "run": run,
        "variant": variant.name,
        "test": test,
        "validation": variant.accuracy["validation"],
        "whole_test": whole.test,
        "whole_validation": whole.validation,
        "lost_points": round(100 * (whole.test - test), 2),
        "parameters": variant.parameters,
        "fewer_parameters": round(whole.parameters / variant.parameters, 3),
        "fewer_macs": round(whole.macs / variant.macs, 3),
        "latency_ms": latency.value,
        "latency_spread": latency.spread,
        "faster": round(whole.latency_ms / latency.value, 3),
        "proof": variant.proof.max_error_float64,
        "trained_on": trained_on,
    }


def job_of(name: str, out: Path, model: str, method: str) -> Job:
    """How variants of a run are judged and measured."""
    options = next(job.options for job in jobs("") if job.name == name)
    multiple = int(options.get("multiple", 4))
    return Job(model, "cifar10", out, method=method, batch_sizes=(1,), quick=True, multiple=multiple)


def rows_of(folder: Path, out: Path, model: str, method: str) -> tuple[list[dict[str, Any]], Portfolio]:
    """The variants of one job beside its whole network."""
    ref = resolve(model, classes=10, input_shape=(3, 32, 32))
    facts = said(folder)
    portfolio = from_levels(out, folder / "levels", job_of(folder.name, out, model, method))
    whole, *each = timed(portfolio, ref)
    macs = counted(build_model(ref).eval(), example(ref)[:1], ()).dense
    dense = json.loads((folder / "levels" / "level-00.json").read_text())["validation_accuracy"]
    known = Whole(facts["test"][1.0], dense, facts["parameters"], macs, whole.value)
    rows = [
        row(folder.name, v, latency, known, facts["device"])
        for v, latency in zip(portfolio, each, strict=True)
    ]
    return rows, portfolio


def vgg16(trained: Path, out: Path) -> None:
    """Figure 1."""
    rows, last = [], None
    folders = [f for f in sorted(trained.glob("vgg-soft-*")) if (f / "facts.json").exists()]
    for folder in folders:
        found, last = rows_of(folder, out / folder.name, "vgg16_bn", "soft_masking")
        rows += found
    if last is None:
        print("no vgg-soft job is there")
        return
    near = [r for r in rows if 100 * (r["whole_validation"] - r["validation"]) <= POINTS]
    good = min(near, key=lambda r: r["parameters"], default=rows[0])
    met = good["fewer_parameters"] >= SMALLER and good["faster"] >= FASTER and good["lost_points"] <= POINTS
    findings = [
        f"{good['run']} {good['variant']}: {good['lost_points']} points lost on test, "
        f"{good['fewer_parameters']}x fewer parameters, {good['fewer_macs']}x fewer multiply-accumulates, "
        f"{good['faster']}x lower latency; asked: {POINTS} points, {SMALLER}x, {FASTER}x: "
        f"{'met' if met else 'short'}.",
        f"Chosen on validation, of {len(rows)} variants. Channels were chosen by the share of measured latency "
        "(costs.json here) plus half the share of parameters, see bench.train.priced.",
        f"{len(folders)} seed(s). Epochs by level: {epochs(folders[0])} (the whole network's first). A whole network "
        "trained for as long as all levels together would be better than this one, so points lost flatter us.",
    ]
    print(table(rows, list(rows[0])))
    print("\n".join(findings))
    says = "VGG-16-BN on CIFAR-10, soft_masking on a measured table: accuracy, size, latency."
    repeats = "in turns with the whole network, see edgeshift.measure"
    keep(Run("train_vgg16", says, repeats=repeats, spread="interquartile range / median"), rows, findings)
    export(last, "train_vgg16", [good["variant"]])


def resnets(trained: Path, out: Path) -> None:
    """Figure 2: accuracy on test at fewer multiply-accumulates, beside Torch-Pruning in the same loop.

    Rows of runs that are not there, since they were trained elsewhere, stay in the record.
    """
    before = RECORDS / "train_resnets" / "rows.json"
    known = json.loads(before.read_text()) if before.exists() else []
    rows: list[dict[str, Any]] = []
    ours: list[tuple[str, Path]] = []
    for size in GOALS:
        for folder in sorted(f for f in trained.glob(f"{size}-*") if (f / "done.json").exists()):
            kind = folder.name.split("-")[1]
            if kind not in METHOD:
                continue
            rows += resnet_rows(folder, kind, size, [*known, *rows])
            if kind != "tp" and folder.name not in UNKEPT:
                ours.append((AGAIN[kind][0] if kind in AGAIN else NETWORKS[size], folder))
    if not rows:
        print("no ResNet job is finished")
        return
    here = {r["run"] for r in rows}
    others = [r for r in known if r["run"] not in here]
    rows = sorted([*rows, *others], key=lambda r: str(r["run"]))
    findings = [
        f"{r['network']} {r['run']}: {r['fewer_macs']}x fewer multiply-accumulates at {r['lost_points']} points lost; "
        + (
            "Torch-Pruning."
            if r["method"] == "torch_pruning"
            else f"asked {r['asked']}: {'met' if good(r) else 'short'}."
        )
        for r in rows
    ]
    print(table(rows, list(rows[0])))
    print("\n".join(findings))
    keep(
        Run("train_resnets", "Pretrained ResNets at fewer MACs, ours and Torch-Pruning, one loop."),
        rows,
        findings,
    )
    for model, folder in ours:
        job = Job(model, "cifar10", out / folder.name, method="soft_masking", batch_sizes=(1,), quick=True)
        portfolio = from_levels(out / folder.name, folder / "levels", job)
        # The network that a run began with is a pretrained one, which everybody has, or of another record.
        names = [v.name for v in portfolio]
        one = folder.name.split("-")[1] in ONE_LEVEL
        export(portfolio, f"train_resnets/{folder.name}", names if one else names[1:])


def good(row: Mapping[str, Any]) -> bool:
    """Whether no more points are lost than asked."""
    return bool(row["lost_points"] <= row["asked"])


def resnet_rows(
    folder: Path, kind: str, size: str, known: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row a level that was cut.

    Args:
        folder: Of the run.
        kind: Of `METHOD`.
        size: Of `NETWORKS`.
        known: Rows of other runs; one that goes on from another counts that one's epochs too.
    """
    ref, facts = resolve(NETWORKS[size], classes=10, input_shape=(3, 32, 32)), said(folder)
    parent, sample = build_model(ref).eval(), example(ref)
    whole = counted(parent, sample[:1], ()).dense
    model, before, parent_test = parent, 0, facts["parent_test"]
    if kind in AGAIN:
        start, first = AGAIN[kind]
        model = build_model(resolve(start, classes=10, input_shape=(3, 32, 32))).eval()
        before = next(r["epochs"] for r in known if r["run"] == first)
        load_weights(parent, ref.name)
        test = open_set("cifar10").split("test")
        parent_test = judged(parent, batches_of(test, ref.mean, ref.std, device="cpu"))
    rows = []
    for path in sorted((folder / "levels").glob("level-*.json")):
        record, index = json.loads(path.read_text()), int(path.stem.partition("-")[2])
        if kind not in ONE_LEVEL and index == 0:
            continue
        macs = facts["start_macs"]
        if kind != "tp":
            level = Folder(folder / "levels").read_level(index, record["kept"])
            assert level is not None
            model.load_state_dict(dict(level.state))
            macs = counted(shrink(model, sample, multiple=1).model, sample[:1], ()).dense
        asked = 0.25 if macs < 0.35 * whole else 0.5
        rows.append(
            {
                "network": NETWORKS[size],
                "run": folder.name,
                "method": METHOD[kind],
                "epochs": before + sum(epochs(folder)),
                "test": facts["test"][record["kept"]],
                "lost_points": round(100 * (parent_test - facts["test"][record["kept"]]), 2),
                "fewer_macs": round(whole / macs, 3),
                "asked": GOALS[size][asked],
                "trained_on": facts["device"],
            }
        )
    return rows


def all_in_one(trained: Path, out: Path) -> None:
    """Ratios of one weight set.

    What it is compared with stays as the record has it where it is not there: the same loop, options and seed.
    """
    for name, model in (
        ("r20-aio-0", "cifar10_resnet20"),
        ("r20-eight-aio-0", "cifar10_resnet20"),
        ("r20-near-aio-0", "cifar10_resnet20"),
        ("r8-aio-0", "cifar10_mlperftiny_resnet8"),
        ("vgg-aio-0", "vgg16_bn"),
        ("vggfirst-aio-0", FIRST_PASS),
    ):
        folder = trained / name
        if not list(folder.glob("test-*.json")):
            print(f"{name} is not there")
            continue
        if name in JUDGED_ONLY:
            rows = [{"run": name, "test": test} for test in said(folder)["test"].values()]
        else:
            rows, portfolio = rows_of(folder, out / name, model, "all_in_one")
        start = name.removesuffix("-aio-0")
        base = f"train_all_in_one_{model.removeprefix('cifar10_').replace(FIRST_PASS, 'vgg16_first_pass')}"
        claim = f"{base}_{start.removeprefix('r20-')}" if start in SHORT_RUNS else base
        alone = {
            float(f.name.rpartition("-")[2]): said(f)["test"][1.0]
            for f in trained.glob(f"{SHORT_RUNS.get(start, start)}-alone-*")
            if (f / "done.json").exists()
        }
        slim = trained / f"{start}-slim-0"
        slimmed = said(slim)["test"] if (slim / "facts.json").exists() else {}
        known = recorded_rows(claim)
        # Slimming a network does not depend on which ratios share another weight set.
        slimmed = {k: r["slimmed_test"] for k, r in recorded_rows(base).items()} | slimmed
        kept = [json.loads(p.read_text())["kept"] for p in sorted((folder / "levels").glob("level-*.json"))]
        rows = [
            {
                **r,
                "kept": k,
                "alone_test": alone.get(k, known.get(k, {}).get("alone_test")),
                "alone_anew": k in alone,
                "slimmed_test": slimmed.get(k),
            }
            for r, k in zip(rows, kept, strict=True)
        ]
        print(table(rows, list(rows[0])))
        behind = [round(100 * (r["alone_test"] - r["test"]), 2) for r in rows if r["alone_test"] is not None]
        above = [round(100 * (r["test"] - r["slimmed_test"]), 2) for r in rows[1:] if r["slimmed_test"]]
        findings = [
            f"{len(rows)} ratios in one weight set, {epochs(folder)[0]} epoch(s), {len(behind)} of them trained alone "
            f"for as many, {sum(r['alone_anew'] for r in rows)} of those anew.",
            f"Points behind the ratio trained alone: {behind}; {sum(b <= BEHIND for b in behind)} of {len(behind)} "
            f"within {BEHIND}.",
            f"Points above network slimming at the same share of multiply-accumulates: {above}"
            + (
                f" ({epochs(slim)} epochs by level)."
                if slim.exists()
                else " (of an earlier run)."
                if above
                else "."
            ),
        ]
        says = f"{model} on CIFAR-10: several ratios in one set of weights."
        timing = {"repeats": "in turns, see edgeshift.measure", "spread": "interquartile range / median"}
        keep(Run(claim, says, **({} if name in JUDGED_ONLY else timing)), rows, findings)
        if name in KEPT_FROM:
            which = [i for i, k in enumerate(kept) if k <= KEPT_FROM[name]]
            job = job_of(name, out / name, model, "all_in_one")
            portfolio = from_levels(out / name, folder / "levels", job, which)
        if name not in (*UNKEPT, *JUDGED_ONLY) or name in KEPT_FROM:
            export_nested(portfolio, out / f"{name}-nested", claim)


def recorded_rows(claim: str) -> dict[float, dict[str, Any]]:
    """Kept share -> row of a record; empty where there is none."""
    path = RECORDS / claim / "rows.json"
    return {r["kept"]: r for r in json.loads(path.read_text())} if path.exists() else {}


def main() -> None:
    """All figures that can be made of what is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trained", type=Path, default=Path("build/together"))
    parser.add_argument("--out", type=Path, default=Path("build/figures"))
    parser.add_argument("--only", default="vgg16,resnets,all_in_one")
    asked = parser.parse_args()
    if "vgg16" in asked.only:
        vgg16(asked.trained, asked.out)
    if "resnets" in asked.only:
        resnets(asked.trained, asked.out)
    if "all_in_one" in asked.only:
        all_in_one(asked.trained, asked.out)


if __name__ == "__main__":
    main()
