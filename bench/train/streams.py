# SPDX-License-Identifier: Apache-2.0
"""What cutting residual streams costs: ResNet-20 at half the multiply-accumulates, two epochs on 12,000 images.

    python -m bench.train.streams        # two processes, about 5 minutes
    python -m bench.train.streams --network cifar10_resnet56 --share 0.25 --images 4000 --only at,Torch

Accuracy is of 3,000 validation images, which the parent had seen: it says how much is kept, not how good a network is.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.record import Run, keep, table
from bench.train.torch_pruned import torch_pruned
from edgeshift.core.progress import Silent
from edgeshift.data import Split, open_set
from edgeshift.graph import channel_groups, shrink
from edgeshift.models import build, example, load_weights, resolve
from edgeshift.train import METHODS, Task, Training, run_levels
from edgeshift.train.macs import counted

NETWORK, SHARE, TRAIN, JUDGED = "cifar10_resnet20", 0.5, 12_000, 3_000
BASE = {"multiple": 4, "momentum": 0.99, "warmup": 0.02, "decay": 0.02}
AT_ONCE = {**BASE, "ramp": 0.06, "permanent": True, "criterion": "magnitude"}
WAYS: dict[str, dict[str, Any] | None] = {
    "as in the paper": {**BASE, "ramp": 0.15, "streams": True},
    "streams spared": {**BASE, "ramp": 0.15},
    "at once, magnitude, survival": {**AT_ONCE, "survival": True},
    "at once, magnitude, relative": {**AT_ONCE, "relative": True, "multiple": 2},
    "Torch-Pruning": None,
}


def one(way: str, network: str, share: float, images: int) -> dict[str, Any]:
    """Cut a pretrained network to a share of its multiply-accumulates, and tune it, one way."""
    torch.set_num_threads(1)
    options, data = WAYS[way], open_set("cifar10")
    ref = resolve(network, classes=10, input_shape=(3, 32, 32))
    parent, sample = build(ref), example(ref)
    load_weights(parent, ref.name)
    parent.eval()
    train, validation = (
        Split(s.images[:n], s.labels[:n])
        for s, n in ((data.split("train"), images), (data.split("validation"), JUDGED))
    )
    start = torch_pruned(parent, sample, share)[0] if options is None else parent
    groups = () if options is None else channel_groups(parent, sample)
    teacher = partial(deepcopy, parent)
    task = Task(partial(deepcopy, start), train, validation, ref.mean, ref.std, groups, teacher)
    training = Training(
        epochs=2,
        first_epochs=None if options is None else 0,
        lr=0.05,
        weight_decay=1e-4,
        warmup_epochs=0.2,
        augment="crop_flip",
        distil=0.5,
        threads=1,
    )
    method = METHODS.make("one_shot") if options is None else METHODS.make("soft_masking", **options)
    levels = (1.0,) if options is None else (1.0, share)
    with TemporaryDirectory() as folder:
        level = list(run_levels(method, task, training, levels, Path(folder), Silent()))[-1]
    start.load_state_dict(dict(level.state))
    small = start if options is None else shrink(start, sample, multiple=1).model
    macs = counted(small, sample[:1], ()).dense / counted(build(ref).eval(), sample[:1], ()).dense
    return {
        "way": way,
        "kept_accuracy": level.validation_accuracy,
        "macs": round(macs, 3),
        "parameters": sum(p.numel() for p in small.parameters()),
    }


def main() -> None:
    """All ways, two at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default=NETWORK, help="a pretrained residual network")
    parser.add_argument("--share", type=float, default=SHARE, help="of the multiply-accumulates")
    parser.add_argument("--images", type=int, default=TRAIN, help="to train on")
    parser.add_argument("--only", default="", help="ways that start so, comma-separated")
    asked = parser.parse_args()
    ways = [w for w in WAYS if w.startswith(tuple(asked.only.split(",")))]
    tuned = partial(one, network=asked.network, share=asked.share, images=asked.images)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        rows = list(pool.map(tuned, ways))
    print(table(rows, list(rows[0])))
    findings = [f"{r['way']}: {100 * r['kept_accuracy']:.1f} % at {r['macs']} of the cost." for r in rows]
    says = (
        f"{asked.network} at {asked.share} of its multiply-accumulates after two epochs on {asked.images:,} images: "
        "what keeps accuracy."
    )
    claim = "train_streams" + ("" if asked.network == NETWORK else f"_{asked.network}")
    keep(Run(claim, says), rows, findings)


if __name__ == "__main__":
    main()
