# SPDX-License-Identifier: Apache-2.0
"""Images per second of the training loop: ResNet-20, 32x32, by threads, memory order and batch size.

    python -m bench.train.throughput            # prints, and writes bench/records/train_throughput/rows.json

Candidates run in turn, `ROUNDS` times; the median of a candidate counts and its spread is kept beside it.
Pixels are random: the time of a step does not depend on them. Data, augmentation, masks and the optimizer
are inside the timed stretch, evaluation is not.
"""

import json
import os
import statistics
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from edgeshift.core.files import write_json
from edgeshift.core.progress import Silent
from edgeshift.data import Split
from edgeshift.measure import describe_device
from edgeshift.models import build, resolve
from edgeshift.train import METHODS, Task, Training
from edgeshift.train.accuracy import batches_of
from edgeshift.train.checkpoint import Folder
from edgeshift.train.exact import repeatable
from edgeshift.train.macs import counted
from edgeshift.train.run import copied
from edgeshift.train.trainer import Trainer

ROUNDS = 5
STEPS = 4
RECORD = Path(__file__).parents[1] / "records" / "train_throughput"


def candidate(threads: int, channels_last: bool, batch_size: int) -> float:
    """Images per second over `STEPS` steps, after one that warms up."""
    random = np.random.default_rng(0)
    count = batch_size * (STEPS + 1)
    images = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    split = Split(images, random.integers(0, 10, count))
    ref = resolve("resnet20", classes=10, input_shape=(3, 32, 32))
    task = Task(lambda: build(ref), split, split, (0.5,) * 3, (0.25,) * 3)
    training = Training(epochs=1, batch_size=batch_size, augment="crop_flip", channels_last=channels_last)
    fresh = copied(build(ref).state_dict())
    method = METHODS.make("iterative_magnitude")
    with repeatable(threads):
        batches = batches_of(split, task.mean, task.std, channels_last=channels_last)
        trainer = Trainer(
            method=method,
            task=task,
            training=training,
            store=Folder(Path()),
            fresh=fresh,
            threads=threads,
            bf16=False,
            device="cpu",
            macs=counted(build(ref), next(batches.plain(1))[0], ()),
            progress=Silent(),
        )
        run, _ = trainer.begin(0, 1.0, STEPS + 1, None, None)
        run.model.train()
        start = 0.0
        for step, (pixels, labels) in enumerate(batches.epoch(batch_size, "crop_flip", 0, 0, 0)):
            if step == 1:
                start = time.perf_counter()
            trainer.step(run, pixels, labels, None, 0.01)
        return batch_size * STEPS / (time.perf_counter() - start)


def main() -> None:
    """Measure, print and keep."""
    seen: dict[tuple[int, bool, int], list[float]] = {}
    load = os.getloadavg()[0]
    for _ in range(ROUNDS):
        for key in product((1, 2), (True, False), (64, 128, 256)):
            seen.setdefault(key, []).append(candidate(*key))
    rows = []
    for (threads, channels_last, batch_size), speeds in seen.items():
        quarters = statistics.quantiles(speeds, n=4)
        rows.append(
            {
                "threads": threads,
                "channels_last": channels_last,
                "batch_size": batch_size,
                "images_per_second": round(statistics.median(speeds), 1),
                "best": round(max(speeds), 1),
                "spread": round((quarters[2] - quarters[0]) / statistics.median(speeds), 3),
            }
        )
        print(json.dumps(rows[-1]))
    environment = {
        "device": describe_device(),
        "torch": torch.__version__,
        "load_before": load,
        "rounds": ROUNDS,
    }
    write_json(RECORD / "rows.json", {"environment": environment, "rows": rows})


if __name__ == "__main__":
    main()
