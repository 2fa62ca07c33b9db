# SPDX-License-Identifier: Apache-2.0
"""VGG-16, a second pass: the smallest variant of `train_vgg16` is the dense network of another pruning, by size.

    python -m bench.train.vgg_again --out build/vgg_again            # an hour on one core
    python -m bench.train.vgg_again --out build/quick --quick        # one epoch, proves nothing

Network Slimming's headline on this network comes of several passes too. The variant is read from the record's ONNX
file, see `bench.train.opened`. Both passes are judged against the first's whole network, on the same test split.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bench.record import RECORDS, Run, keep, table
from bench.train.figures import FASTER, POINTS, SMALLER, Whole, row, timed
from bench.train.opened import vgg16_first_pass
from bench.train.portfolios import built, export
from bench.train.together import FIRST_PASS
from edgeshift.core.files import write_json
from edgeshift.models import build, resolve
from edgeshift.portfolio import Portfolio

RECORD = RECORDS / "train_vgg16"
FIRST = "vgg-soft-0"
# Of parameters; the first pass left 1 / 8.7 of the whole network's.
LEVELS = (1.0, 0.83)


def sizes(model: nn.Module) -> dict[str, Any]:
    """A table of layer costs in which a layer costs its parameters, as shares of all."""
    weights = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    total = sum(w.numel() for w in weights.values())
    layers = {}
    for name, weight in weights.items():
        rows, columns = ([1, n] for n in weight.shape[:2])
        each = weight[0, 0].numel() / total
        layers[name] = {"rows": rows, "columns": columns, "cost": (each * np.outer(rows, columns)).tolist()}
    return {"unit": "share of parameters", "device": "any", "layers": layers}


def rows_of(portfolio: Portfolio, whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variants beside the whole network of the first pass."""
    ref = resolve("vgg16_bn", classes=10, input_shape=(3, 32, 32))
    dense = build(ref)
    first, *each = timed(portfolio, ref)
    known = Whole(
        whole["whole_test"],
        whole["whole_validation"],
        sum(p.numel() for p in dense.parameters()),
        portfolio.variants[0].macs * whole["fewer_macs"],
        first.value,
    )
    return [row("second pass", v, latency, known, "cpu") for v, latency in zip(portfolio, each, strict=True)]


def main() -> None:
    """Prune again, measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/vgg_again"))
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    prices = asked.out.with_suffix(".json")
    write_json(prices, sizes(vgg16_first_pass()))
    options = {
        "table": str(prices),
        "multiple": 16,
        "momentum": 0.99,
        "warmup": 0.02,
        "ramp": 0.3,
        "decay": 0.02,
        "least": 0.02,
    }
    portfolio = built(
        asked.out,
        FIRST_PASS,
        "soft_masking",
        options,
        data="cifar10",
        levels=LEVELS,
        epochs=1 if asked.quick else asked.epochs,
        train_options={
            "first_epochs": 0,
            "batch_size": 256,
            "lr": 0.02,
            "weight_decay": 5e-4,
            "augment": "crop_flip",
            "warmup_epochs": 1.0,
            "distil": 0.5,
            "bf16": "trial",
        },
        threads=1,
        batch_sizes=(1,),
        quick=True,
    )
    recorded = json.loads((RECORD / "rows.json").read_text())
    before = [r for r in recorded if r["run"] == FIRST]
    rows = [*before, *rows_of(portfolio, before[-1])[1:]]
    print(table(rows, list(rows[0])))
    last = rows[-1]
    met = last["fewer_parameters"] >= SMALLER and last["faster"] >= FASTER and last["lost_points"] <= POINTS
    findings = [
        f"Second pass, {last['variant']}: {last['lost_points']} points lost on test, {last['fewer_parameters']}x fewer "
        f"parameters, {last['fewer_macs']}x fewer multiply-accumulates, {last['faster']}x lower latency; asked: "
        f"{POINTS} points, {SMALLER}x, {FASTER}x: {'met' if met else 'short'}.",
        "First pass: chosen on validation, of its variants; channels by the share of measured latency (costs.json of "
        "train_vgg16) plus half the share of parameters. Second: by parameters alone, no choice was made.",
        f"One seed. Epochs: 28 for the whole network, 14 for each level of the first pass, {asked.epochs} for the "
        "second. A whole network trained for as long as all together would be better, so points lost flatter us.",
    ]
    print("\n".join(findings))
    if not asked.quick:
        says = "VGG-16-BN on CIFAR-10, soft_masking in two passes: accuracy, size, latency."
        repeats = "in turns with the whole network, see edgeshift.measure"
        keep(
            Run("train_vgg16_again", says, repeats=repeats, spread="interquartile range / median"),
            rows,
            findings,
        )
        export(portfolio, "train_vgg16_again", [last["variant"]])


if __name__ == "__main__":
    main()
