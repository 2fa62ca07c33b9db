# SPDX-License-Identifier: Apache-2.0
"""Hypervolume of the accuracy-latency front: ours over iterative magnitude with rewinding, at equal training cost.

    python -m bench.train.hypervolume --out build/hypervolume          # GPU: hours
    python -m bench.train.hypervolume --out build/narrow --widths 16 32 64 128 128 --epochs 5    # an hour on one core
    python -m bench.train.hypervolume --out build/quick --quick        # digits, seconds per level

The same epochs per level and number of levels on every side, so equal training cost where masked training costs what
dense training does. The baseline is DNNShifter's way: single weights by magnitude, rewound, then shrunk exactly.
"""

import argparse
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.train.together import AT_ONCE
from edgeshift.derive.comparison import Comparison, compare
from edgeshift.derive.job import Job
from edgeshift.reports import compared, write_comparison

TARGET = 1.3
# Times faster than the whole network from which a front is worth comparing by area.
FAST = 1.1
# Shares of weights for the baseline, of cost for soft_masking and slimming.
LEVELS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
OPTIONS: dict[str, dict[str, Any]] = {
    "iterative_magnitude": {},
    "soft_masking": {**AT_ONCE, "multiple": 8},
    "network_slimming": {"cost": "macs"},
}
QUICK: dict[str, dict[str, Any]] = {
    "iterative_magnitude": {},
    "soft_masking": {"multiple": 2, "decay": 5e-2, "every": 5},
    "network_slimming": {"cost": "macs", "l1": 1e-2},
}


def main() -> None:
    """Compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/hypervolume"))
    parser.add_argument("--model", default="vgg16_bn")
    parser.add_argument("--widths", type=int, nargs="+", help="of a VGG's stages, instead of its own")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=list(OPTIONS), help="the first is the baseline")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--claim", default="train_hypervolume")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    job = Job(
        model="resnet8" if asked.quick else asked.model,
        data="digits" if asked.quick else "cifar10",
        out=asked.out,
        model_options={"widths": asked.widths} if asked.widths else {},
        train_options={} if asked.quick else {"bf16": "trial"},
        levels=(1.0, 0.5, 0.25) if asked.quick else LEVELS,
        epochs=3 if asked.quick else asked.epochs,
        threads=1,
    )
    known = QUICK if asked.quick else OPTIONS
    options = {method: known[method] for method in asked.methods}
    found = compare(Comparison(job, tuple(options), tuple(asked.seeds), options, asked.workers))
    facts = compared({(e.method, e.seed): p for e, p in found.items()})
    write_comparison(facts, asked.out / "comparison.html")
    rows = facts["methods"]
    print(
        table(rows, ("name", "hypervolume", "ratio", "pick_test", "pick_faster", "seconds", "training_macs"))
    )
    best = max(rows[1:], key=lambda r: r["ratio"])
    met = "met" if best["ratio"] > TARGET else "short"
    findings = [f"{best['name']} over {rows[0]['name']}: {best['ratio']:.3f}; asked: above {TARGET}: {met}."]
    if rows[0]["pick_faster"] < FAST:
        findings.append(
            "The baseline's usable variants are hardly faster than the whole network: its hypervolume is next to "
            "none, and the ratio says no more than that."
        )
    print("\n".join(findings))
    if not asked.quick:
        says = "Hypervolume of the accuracy-latency front over DNNShifter's way."
        findings.append(
            f"{asked.model}, widths {asked.widths or 'its own'}, {asked.epochs} epochs a level, levels {LEVELS}."
        )
        keep(Run(asked.claim, says, seeds=tuple(asked.seeds)), [*rows, *facts["variants"]], findings)


if __name__ == "__main__":
    main()
