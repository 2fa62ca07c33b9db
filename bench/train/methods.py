# SPDX-License-Identifier: Apache-2.0
"""All methods on the canvas task, where they can be told apart: accuracy by kept share, seeds paired.

    python -m bench.train.methods --out build/methods                      # about an hour of one core
    python -m bench.train.methods --out build/quick --quick                # a minute, proves nothing

A convolutional network of 24 k weights, 2,000 canvases, the same epochs per level for all. Levels mean what each method
means by them (single weights, channels by cost, N of M), so the live multiply-accumulates stand beside each accuracy.
A finished cell is kept in `--out`, so a stopped run goes on.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from bench.record import Run, keep, table
from bench.train.tasks import canvas
from edgeshift.core.files import write_json
from edgeshift.core.progress import Silent
from edgeshift.graph import channel_groups
from edgeshift.train import METHODS, Task, Training, evaluate, run_levels
from edgeshift.train.macs import counted

# name -> method, options, kept shares after the dense level
CASES: dict[str, tuple[str, dict[str, Any], tuple[float, ...]]] = {
    "iterative_magnitude": ("iterative_magnitude", {}, (0.1, 0.05)),
    "gradual_magnitude": ("gradual_magnitude", {}, (0.1, 0.05)),
    "gradual, concentrated": ("gradual_magnitude", {"criterion": "concentrated"}, (0.1, 0.05)),
    "static erk": ("rigl", {"alpha": 0.0, "every": 20}, (0.1, 0.05)),
    "set": ("rigl", {"grow": "random", "every": 20}, (0.1, 0.05)),
    "rigl": ("rigl", {"every": 20}, (0.1, 0.05)),
    "rigl, channels": ("rigl", {"every": 20, "pattern": "channel", "allocation": "uniform"}, (0.5,)),
    "grow_and_prune": ("grow_and_prune", {"partitions": 4, "rounds": 2}, (0.1, 0.05)),
    "grow_and_prune, parallel": (
        "grow_and_prune",
        {"partitions": 4, "rounds": 2, "parallel": True},
        (0.1, 0.05),
    ),
    "n_m 1:8": ("n_m", {"m": 8}, (0.125,)),
    "one_shot 1:8": ("one_shot", {"pattern": "n_m", "pattern_options": {"m": 8}}, (0.125,)),
    "one_shot, channels": ("one_shot", {"pattern": "channel"}, (0.5, 0.25)),
    "network_slimming": ("network_slimming", {"l1": 1e-2, "floor": 0.3}, (0.5,)),
    "network_slimming, no l1": ("network_slimming", {"l1": 0.0, "floor": 0.3}, (0.5,)),
    "soft_masking": ("soft_masking", {"multiple": 2, "every": 20, "decay": 5e-2}, (0.5, 0.25)),
    "soft_masking, permanent": (
        "soft_masking",
        {"multiple": 2, "every": 20, "decay": 5e-2, "permanent": True},
        (0.5, 0.25),
    ),
    "supernet": ("supernet", {"least": 0.25}, (0.5, 0.25)),
    "scratch of one_shot, channels": ("scratch", {"pattern": "channel"}, (0.5, 0.25)),
}


def network(seed: int) -> nn.Module:
    """Three convolutions of 16, 32 and 64 channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for given, made in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(given, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if made < 64 else []
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def cell(name: str, seed: int, epochs: int, images: int, out: Path) -> list[dict[str, Any]]:
    """Rows of one case and seed; read if they are there."""
    done = out / f"{name}-{seed}.json".replace(" ", "_")
    if done.exists():
        return list(json.loads(done.read_text()))
    method, options, kept = CASES[name]
    train, validation = canvas(images, seed, held_out=False), canvas(500, seed + 1000, held_out=False)
    test = canvas(2000, seed + 2000, held_out=True)
    mean_, std = (float(train.images.mean() / 255),), (float(train.images.std() / 255),)
    groups = channel_groups(network(seed).eval(), torch.zeros(2, 1, 16, 16))
    task = Task(lambda: network(seed), train, validation, mean_, std, groups)
    training = Training(epochs=epochs, batch_size=64, lr=0.1, seed=seed, threads=1, bf16="off", device="cpu")
    macs = counted(network(seed), torch.zeros(1, 1, 16, 16), groups)
    rows = []
    folder = out / "levels" / done.stem
    for level in run_levels(METHODS.make(method, **options), task, training, (1.0, *kept), folder, Silent()):
        model = network(seed)
        model.load_state_dict(level.state)
        masks = {n: torch.from_numpy(m) for n, m in level.masks.tensors.items()}
        rows.append(
            {
                "case": name,
                "kept": level.kept,
                "seed": seed,
                "test": evaluate(model, test, mean_, std, threads=1),
                "live_macs": round(macs.of_masks(masks) / macs.dense, 4),
                "counted_training": round(
                    sum(r["training_macs"] for r in level.curve)
                    / max(1.0, sum(r["dense_training_macs"] for r in level.curve)),
                    4,
                ),
            }
        )
    write_json(done, rows)
    return rows


def main() -> None:
    """Train every case with every seed, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/methods"))
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    epochs, images, seeds = (2, 600, [0]) if asked.quick else (asked.epochs, asked.images, asked.seeds)
    found = [r for seed in seeds for name in CASES for r in cell(name, seed, epochs, images, asked.out)]
    rows = []
    for name, kept in dict.fromkeys((r["case"], r["kept"]) for r in found):
        same = [r for r in found if (r["case"], r["kept"]) == (name, kept)]
        tests = [r["test"] for r in same]
        rows.append(
            {
                "case": name,
                "kept": kept,
                "test": round(mean(tests), 4),
                "spread": round(stdev(tests), 4) if len(tests) > 1 else None,
                "live_macs": round(mean(r["live_macs"] for r in same), 4),
                "counted_training": round(mean(r["counted_training"] for r in same), 4),
            }
        )
    print(table(rows, list(rows[0])))
    if not asked.quick:
        says = f"All methods on the canvas task, {images} images, {epochs} epochs per level."
        run = Run("train_methods", says, seeds=tuple(seeds), spread="standard deviation over seeds")
        keep(run, rows, ["Equal epochs for all; compare cases of one kept share, and look at live_macs."])


if __name__ == "__main__":
    main()
