# SPDX-License-Identifier: Apache-2.0
"""Sparse checkpoints for `bench.shrink.rivals`: iterative magnitude pruning to 1/256 on the real CIFAR-10.

    python -m bench.shrink.train_sparse vgg16_bn|resnet50 [--steps 16] [--folder build/bench/sparse]

Each level halves the weights that stay, rewinds them, and trains `--steps` batches of 32; short trainings, so
accuracy is low and fewer filters die than in full ones. A run that was stopped goes on where it was.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.networks import find
from bench.shrink.subjects import one_thread
from edgeshift.core.errors import UnknownName
from edgeshift.core.progress import Silent
from edgeshift.core.seeds import seed_for
from edgeshift.data import Split, open_set
from edgeshift.models import build, resolve
from edgeshift.train import METHODS, Level, Task, Training, run_levels

FOLDER = Path("build/bench/sparse")
LEVELS = tuple(0.5**k for k in range(9))  # 1 to 1/256
BATCH = 32
STEPS = 16
REWIND = 4  # steps of level 0 that are not trained again; the published method keeps 3 % of its training
SEED = 0


def fresh(name: str) -> nn.Module:
    """The untrained network, for ten classes of 32x32 images; equal weights at every call."""
    if name == "vgg16_bn":
        return published_(build(resolve(name), seed=SEED))
    if name != "resnet50":
        raise UnknownName("sparse network", name, ("vgg16_bn", "resnet50"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(SEED, "network", name))
        return find(name).build(classes=10)


def published_(model: nn.Module) -> nn.Module:
    """Start as DNNShifter's VGG does: the fan-in form of He et al., norm scales uniform in 0..1; in place.

    The zoo's fan-out form gives the deep layers larger weights than the threshold much longer.
    """
    generator = torch.Generator().manual_seed(seed_for(SEED, "scales"))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator))
    return model


def task_of(name: str, steps: int) -> Task:
    """The network, as many training images as one level sees, and 100 others to judge by."""
    data = open_set("cifar10")
    return Task(
        factory(name),
        first_of(data.split("train"), steps * BATCH),
        first_of(data.split("validation"), 100),
        data.mean,
        data.std,
    )


def factory(name: str) -> Callable[[], nn.Module]:
    """`fresh` of that name, without arguments."""
    return lambda: fresh(name)


def first_of(split: Split, count: int) -> Split:
    """The first images of a split."""
    return Split(np.ascontiguousarray(split.images[:count]), split.labels[:count].copy())


def train(name: str, steps: int, folder: Path) -> list[Level]:
    """All levels; those in the folder are read, not trained."""
    exclude = ("fc.weight",) if name == "vgg16_bn" else ()  # as in DNNShifter's two recipes
    method = METHODS.make("iterative_magnitude", rewind_steps=min(REWIND, steps // 2), exclude=exclude)
    training = Training(
        epochs=1,
        batch_size=BATCH,
        lr=0.1,
        weight_decay=1e-4,
        nesterov=False,
        warmup_epochs=0.2,
        threads=1,
        seed=SEED,
    )
    return list(run_levels(method, task_of(name, steps), training, LEVELS, folder / name, Silent()))


def main() -> None:
    """Train, and print what each level reached."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name")
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--folder", type=Path, default=FOLDER)
    chosen = options.parse_args()
    one_thread()
    for level in train(chosen.name, chosen.steps, chosen.folder):
        print(f"1/{1 / level.kept:g}: validation accuracy {level.validation_accuracy:.3f}", flush=True)


if __name__ == "__main__":
    main()
