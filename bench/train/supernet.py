# SPDX-License-Identifier: Apache-2.0
"""Variants from one supernet, each beside the same architecture trained alone for the same epochs.

    python -m bench.train.supernet --out build/supernet            # GPU: hours
    python -m bench.train.supernet --out build/narrow --model vgg11_bn --widths 16 32 64 128 128 --epochs 12   # CPU
    python -m bench.train.supernet --out build/quick --quick       # digits, a minute
    python -m bench.train.supernet --method all_in_one --out build/gears --model vgg11_bn --widths 16 32 64 128 128

`all_in_one` is told the sizes beforehand and keeps batch norms for each; `supernet` is asked for any size afterwards.
A step makes one pass for the dense network and one for each form, so it costs a few times a dense training of as many
epochs, once, for all variants; the separate trainings cost one each.
"""

import argparse
from pathlib import Path

from bench.record import Run, keep, table
from bench.train.portfolios import built, export
from edgeshift.derive.remeasure import bench
from edgeshift.reports.compared import training_cost

LEVELS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.22, 0.15)
POINTS, VARIANTS = 0.7, 8


def main() -> None:
    """Train both ways, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/supernet"))
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--widths", type=int, nargs="+", help="of a VGG's stages, instead of its own")
    parser.add_argument("--method", choices=("supernet", "all_in_one"), default="supernet")
    parser.add_argument(
        "--middle", type=int, default=1, help="forms beside the whole and the smallest in a step"
    )
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    model, data, epochs = ("resnet8", "digits", 4) if asked.quick else (asked.model, "cifar10", asked.epochs)
    shared = {
        "data": data,
        "model_options": {"widths": asked.widths} if asked.widths else {},
        "train_options": {} if asked.quick else {"bf16": "trial"},
        "threads": 1,
        "levels": LEVELS,
        "epochs": epochs,
        "seed": asked.seed,
        "quick": True,
    }
    sizes = {"least": LEVELS[-1]} if asked.method == "supernet" else {"ratios": LEVELS[1:]}
    options = {**sizes, "middle": asked.middle}
    one = bench(
        built(asked.out / "one", model, asked.method, options, **shared), batch_sizes=(1,), memory=False
    )
    alone = built(
        asked.out / "alone", model, "scratch", {"found": str(asked.out / "one" / "work" / "levels")}, **shared
    )
    rows = []
    for mine, other in zip(one.variants, alone.variants, strict=True):
        rows.append(
            {
                "variant": mine.name,
                "test": mine.accuracy["test"],
                "alone": other.accuracy["test"],
                "behind_points": round(100 * (other.accuracy["test"] - mine.accuracy["test"]), 2),
                "macs": mine.macs,
                "latency_ms": mine.measured("latency").value,
                "parameters": mine.parameters,
            }
        )
    print(table(rows, list(rows[0])))
    good = sum(r["behind_points"] <= POINTS for r in rows)
    costs = [training_cost(p)["training_macs"] for p in (one, alone)]
    claim = "train_supernet" if asked.method == "supernet" else f"train_supernet_{asked.method}"
    findings = [
        f"{good} of {len(rows)} variants within {POINTS} points of training alone; asked: {VARIANTS}: "
        f"{'met' if good >= VARIANTS else 'short'}.",
        f"Training all alone costs {costs[1] / costs[0]:.2f} times what the supernet does, in counted MACs.",
        f"{asked.method}, {model}, widths {asked.widths or 'its own'}, {data}, {epochs} epochs, "
        f"{asked.middle + 2} passes a step; one seed.",
    ]
    print("\n".join(findings))
    if not asked.quick:
        keep(
            Run(claim, "One supernet against architectures trained alone.", seeds=(asked.seed,)),
            rows,
            findings,
        )
        export(one, claim, [r["variant"] for r in rows if r["behind_points"] <= POINTS])


if __name__ == "__main__":
    main()
