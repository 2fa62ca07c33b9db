# SPDX-License-Identifier: Apache-2.0
"""What sparse training costs: multiply-accumulates counted, and seconds measured, against dense training.

    python -m bench.train.sparse_cost --out build/cost             # digits, minutes on one core
    python -m bench.train.sparse_cost --model vgg11_bn --widths 16 32 64 128 128 --data cifar10 --images 10000

Counted: three passes per step (forward, gradient of inputs, gradient of weights) over the weights that are alive; a
method that needs the dense gradient is charged for it. Measured: the seconds of the same epochs, of all of a level and
of its last one, over those of dense training in the same run. Masked weights are multiplied all the same by every dense
kernel, so seconds fall only where whole channels stay masked: those are then left out of training (`train/narrow.py`).
"""

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.record import Run, keep, table
from bench.train.portfolios import built
from edgeshift.data import open_set
from edgeshift.reports.facts import curve_of

METHODS: dict[str, dict[str, Any]] = {
    "one_shot": {},
    "gradual_magnitude": {},
    "rigl": {"every": 20},
    "grow_and_prune": {},
    "n_m": {},
    "soft_masking": {"multiple": 2, "decay": 5e-2},
    "network_slimming": {"l1": 1e-2},
    "supernet": {},
}
LEVELS = (1.0, 0.5, 0.25)


def first_of(data: str, images: int, out: Path) -> Path:
    """A file with the first images of a data set's training split, and a fifth as many to judge on."""
    arrays = {}
    for which, end, count in (
        ("train", "train", images),
        ("validation", "val", images // 5),
        ("test", "test", images // 5),
    ):
        split = open_set(data).split(which)
        arrays |= {f"x_{end}": split.images[:count], f"y_{end}": split.labels[:count]}
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{data}_{images}.npz"
    np.savez(path, **arrays)
    return path


def main() -> None:
    """Build with each, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/cost"))
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--widths", type=int, nargs="+", help="of a VGG's stages, instead of its own")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, help="of the training split, instead of all")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    data = str(first_of(asked.data, asked.images, asked.out)) if asked.images else asked.data
    rows = []
    for method, options in METHODS.items():
        portfolio = built(
            asked.out / method,
            asked.model,
            method,
            options,
            data=data,
            model_options={"widths": asked.widths} if asked.widths else {},
            levels=LEVELS,
            epochs=1 if asked.quick else asked.epochs,
            threads=1,
            quick=True,
        )
        for variant in portfolio:
            curve = curve_of(portfolio.read(variant, "log"), variant.name)
            if not curve:
                continue
            spent = sum(r["training_macs"] for r in curve)
            rows.append(
                {
                    "method": method,
                    "variant": variant.name,
                    "counted_share": round(spent / sum(r["dense_training_macs"] for r in curve), 4),
                    "seconds_per_epoch": round(fmean(r["seconds"] for r in curve), 3),
                    "last_epoch": round(curve[-1]["seconds"], 3),
                    "epochs": len(curve),
                    "test": variant.accuracy["test"],
                }
            )
    dense = rows[0]["seconds_per_epoch"]
    for row in rows:
        row["seconds_over_dense"] = round(row["seconds_per_epoch"] / dense, 3)
        row["last_over_dense"] = round(row["last_epoch"] / dense, 3)
    print(table(rows, list(rows[0])))
    findings = [
        f"{asked.model}, widths {asked.widths or 'its own'}, "
        f"{asked.images or 'all'} images of {asked.data}, {asked.epochs} epochs by level.",
        "Counted cost is what a kernel that skips zeros would spend; ours are dense, and the seconds say so.",
    ]
    for method in dict.fromkeys(r["method"] for r in rows):
        last = [r for r in rows if r["method"] == method][-1]
        findings.append(
            f"{method}, {last['variant']}: counted {last['counted_share']:.2f} of dense training, "
            f"seconds {last['seconds_over_dense']:.2f} of it, in the last epoch {last['last_over_dense']:.2f}."
        )
    print("\n".join(findings))
    if not asked.quick:
        keep(
            Run(
                f"train_sparse_cost{f'_{asked.model}' if asked.data != 'digits' else ''}",
                "Counted and measured cost of training, by method and level.",
                repeats="once, shared machine",
            ),
            rows,
            findings,
        )


if __name__ == "__main__":
    main()
