# SPDX-License-Identifier: Apache-2.0
"""What it costs ratios to share one set of weights, by the options of all_in_one: points behind training alone.

    python -m bench.train.shared --out build/shared                     # half an hour of one core
    python -m bench.train.shared --out build/quick --quick              # a minute, proves nothing

The network and the canvases of `bench.train.methods`, seeds paired: one weight set for all ratios against the network
of each ratio's widths trained alone, for the same epochs in the same loop. Once from random weights, and once from
those of the whole network trained before, with it as teacher. A finished seed is kept in `--out`, so a stopped run goes
on.
"""

import argparse
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from bench.record import Run, keep, table
from bench.train.methods import network
from bench.train.tasks import canvas
from bench.train.together import narrowed
from edgeshift.core.files import write_json
from edgeshift.core.progress import Silent
from edgeshift.graph import channel_groups
from edgeshift.train import METHODS, Level, Task, Training, evaluate, run_levels

RATIOS = (0.8, 0.65, 0.5, 0.4, 0.3)
SAMPLE = torch.zeros(2, 1, 16, 16)
# Passes of a step: the whole, the smallest and all others.
SUM = 1 + len(RATIOS)
# name -> options of all_in_one, and the learning rate over that of training alone
CASES: dict[str, tuple[dict[str, Any], float]] = {
    "as it comes": ({}, 1.0),
    "rate / 2": ({}, 1 / 2),
    "rate / 2, labels only": ({"distil": 0.0}, 1 / 2),
    "rate / 2, labels only, norms at full": ({"distil": 0.0, "own_rate": 2.0}, 1 / 2),
    "rate / 2, labels only, whole x 2": ({"distil": 0.0, "whole": 2.0}, 1 / 2),
    "rate / passes, labels only, norms at full": ({"distil": 0.0, "own_rate": float(SUM)}, 1 / SUM),
}


class Seeded:
    """Data and network of one seed."""

    def __init__(self, seed: int, epochs: int, images: int, out: Path) -> None:
        self.seed, self.out = seed, out
        self.train = canvas(images, seed, held_out=False)
        self.validation = canvas(500, seed + 1000, held_out=False)
        self.test = canvas(2000, seed + 2000, held_out=True)
        self.scaling = (float(self.train.images.mean() / 255),), (float(self.train.images.std() / 255),)
        self.training = Training(
            epochs=epochs, batch_size=64, lr=0.1, seed=seed, threads=1, bf16="off", device="cpu"
        )

    def levels(
        self,
        name: str,
        start: Callable[[], nn.Module],
        training: Training,
        levels: tuple[float, ...] = (1.0,),
        options: dict[str, Any] | None = None,
        teacher: Callable[[], nn.Module] | None = None,
    ) -> list[tuple[Level, float]]:
        """Levels with their accuracy on test."""
        groups = channel_groups(start(), SAMPLE) if options is not None else ()
        task = Task(start, self.train, self.validation, *self.scaling, groups, teacher)
        method = METHODS.make("one_shot" if options is None else "all_in_one", **(options or {}))
        found = []
        for level in run_levels(method, task, training, levels, self.out / "levels" / name, Silent()):
            model = start()
            model.load_state_dict(level.state)
            found.append((level, evaluate(model, self.test, *self.scaling, threads=1)))
        return found

    def rows(self, began: str) -> list[dict[str, Any]]:
        """Accuracies of all cases and of each ratio alone; read if they are there."""
        done = self.out / f"{began}-{self.seed}.json"
        if done.exists():
            return list(json.loads(done.read_text()))
        whole = network(self.seed).eval()
        training, teacher, fresh = self.training, None, self.seed
        if began == "trained":
            ((level, _),) = self.levels(f"parent-{self.seed}", partial(deepcopy, whole), training)
            whole.load_state_dict(level.state)
            training = replace(training, epochs=max(1, training.epochs // 2), lr=training.lr / 2, distil=0.5)
            teacher, fresh = partial(deepcopy, whole), None
        rows = []
        for ratio in (1.0, *RATIOS):
            small = whole if ratio == 1 else narrowed(whole, SAMPLE, ratio, 2, fresh)
            name = f"{began}-alone-{ratio}-{self.seed}"
            ((_, test),) = self.levels(name, partial(deepcopy, small), training, teacher=teacher)
            rows.append({"began": began, "case": "alone", "kept": ratio, "seed": self.seed, "test": test})
        for case, (options, times) in CASES.items():
            asked = {"ratios": RATIOS, "multiple": 2, "middle": len(RATIOS) - 1, **options}
            name = f"{began}-{case}-{self.seed}".replace(" ", "_").replace("/", "over").replace(",", "")
            found = self.levels(
                name,
                partial(deepcopy, whole),
                replace(training, lr=training.lr * times),
                (1.0, *RATIOS),
                asked,
                teacher,
            )
            rows += [
                {"began": began, "case": case, "kept": level.kept, "seed": self.seed, "test": test}
                for level, test in found
            ]
        write_json(done, rows)
        return rows


def judged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a case: points behind training alone by ratio, the mean over seeds."""
    rows = []
    for began, case in dict.fromkeys((r["began"], r["case"]) for r in found if r["case"] != "alone"):
        row: dict[str, Any] = {"began": began, "case": case}
        each = []
        for kept in (1.0, *RATIOS):
            tests = [
                {
                    r["seed"]: r["test"]
                    for r in found
                    if (r["began"], r["case"], r["kept"]) == (began, c, kept)
                }
                for c in ("alone", case)
            ]
            behind = [100 * (test - tests[1][seed]) for seed, test in tests[0].items()]
            each.append(behind)
            row[f"{kept:g}"] = round(mean(behind), 2)
        over = [mean(of) for of in zip(*each, strict=True)]
        row["mean"] = round(mean(over), 2)
        row["over_seeds"] = round(stdev(over), 2) if len(over) > 1 else None
        rows.append(row)
    return rows


def main() -> None:
    """Train every case with every seed, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/shared"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    epochs, images, seeds = (2, 600, [0]) if asked.quick else (asked.epochs, asked.images, asked.seeds)
    found = []
    for seed in seeds:
        one = Seeded(seed, epochs, images, asked.out)
        found += [*one.rows("random"), *one.rows("trained")]
        print(f"seed {seed} is done", flush=True)
    rows = judged(found)
    print(table(rows, list(rows[0])))
    alone = {
        began: ", ".join(
            f"{mean(r['test'] for r in found if (r['began'], r['case'], r['kept']) == (began, 'alone', k)):.1%}"
            for k in (1.0, *RATIOS)
        )
        for began in ("random", "trained")
    }
    findings = [
        "Points behind the same widths trained alone for the same epochs, by kept share; below 0 = ahead.",
        *(f"From {began} weights, alone: {tests}." for began, tests in alone.items()),
        *(
            "From {} weights the best in the mean is {!r}: {} points behind.".format(
                began, *min(((r["case"], r["mean"]) for r in rows if r["began"] == began), key=lambda c: c[1])
            )
            for began in alone
        ),
    ]
    print("\n".join(findings))
    if not asked.quick:
        says = f"all_in_one against each ratio alone on the canvas task, {images} images, {epochs} epochs."
        spread = "over_seeds: standard deviation of a seed's mean over ratios"
        keep(Run("train_shared", says, seeds=tuple(seeds), spread=spread), rows, findings)


if __name__ == "__main__":
    main()
