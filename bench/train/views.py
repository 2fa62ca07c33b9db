# SPDX-License-Identifier: Apache-2.0
"""A teacher asked once about a few views of each image, beside one that is asked in every epoch.

    python -m bench.train.views --images 5000        # a quarter of an hour on one core

A ResNet-20 cut to 0.3 of its multiply-accumulates learns from a whole ResNet-56, on few images. Both pretrained
networks had seen them: it says what views cost and keep, not how good a network is.
"""

import argparse
import time
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from bench.record import Run, keep, table
from bench.train.together import narrowed
from edgeshift.core.progress import Silent
from edgeshift.data import Split, open_set
from edgeshift.models import build, example, load_weights, resolve
from edgeshift.train import METHODS, Task, Training, run_levels
from edgeshift.train.accuracy import evaluate

TRAIN, SHARE, EPOCHS = 5_000, 0.3, 8
ANEW = "asked anew"
WAYS: dict[str, dict[str, Any]] = {
    "labels only": {"distil": 0.0},
    ANEW: {"distil": 0.5},
    **{f"{n} view(s)": {"distil": 0.5, "distil_views": n} for n in (1, 2, 4)},
}


def pretrained(name: str) -> nn.Module:
    """A network with its published weights."""
    network = build(resolve(name, classes=10, input_shape=(3, 32, 32)))
    load_weights(network, name)
    return network.eval()


def main() -> None:
    """All ways in turns, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=TRAIN)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ref = resolve("cifar10_resnet20", classes=10, input_shape=(3, 32, 32))
    small = narrowed(pretrained(ref.name), example(ref), SHARE, 4, None)
    data = open_set("cifar10")
    splits = data.split("train"), data.split("validation")
    train, validation = (Split(s.images[: asked.images], s.labels[: asked.images]) for s in splits)
    test = data.split("test")
    teacher = partial(pretrained, "cifar10_resnet56")  # of the same scaling
    task = Task(partial(deepcopy, small), train, validation, ref.mean, ref.std, (), teacher)
    rows = []
    for way, options in WAYS.items():
        training = Training(
            epochs=EPOCHS,
            batch_size=64,
            lr=0.02,
            weight_decay=1e-4,
            augment="crop_flip",
            device="cpu",
            threads=1,
            **options,
        )
        started = time.process_time()
        with TemporaryDirectory() as folder:
            (level,) = run_levels(METHODS.make("one_shot"), task, training, (1.0,), Path(folder), Silent())
        seconds = time.process_time() - started
        taught = deepcopy(small)
        taught.load_state_dict(dict(level.state))
        found = evaluate(taught, test, ref.mean, ref.std, threads=1)
        rows.append({"way": way, "seconds": round(seconds, 1), "test": found})
        print(rows[-1], flush=True)
    anew = next(r for r in rows if r["way"] == ANEW)
    rows = [{**r, "of_anew": round(r["seconds"] / anew["seconds"], 3)} for r in rows]
    print(table(rows, list(rows[0])))
    findings = [
        f"{r['way']}: {100 * r['test']:.1f} % on test, {r['of_anew']:.2f} of the seconds that asking anew takes."
        for r in rows
    ]
    findings.append(f"{asked.images:,} training images, {EPOCHS} epochs, one seed, all of test.")
    says = f"ResNet-20 cut to {SHARE} of its multiply-accumulates, taught by ResNet-56: what a few views cost and keep."
    keep(Run("train_views", says, repeats="once, one after another", spread="none"), rows, findings)


if __name__ == "__main__":
    main()
