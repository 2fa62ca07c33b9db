# SPDX-License-Identifier: Apache-2.0
"""Time to derive a portfolio from one sparse run, against training every variant separately.

    python -m bench.main_job.derive_cost digits
    python -m bench.main_job.derive_cost cifar10 --portfolio DIR     # a finished build of cifar10_resnet20

All times are processor time of one process, since the machine is shared. Deriving: trace and export the parent once,
then shrink, prove and export every level, on the masked weights that the portfolio keeps. Sparse training: the epochs
of all levels times an epoch of the dense network, since masked training costs as much. Conventional: every variant's
own architecture trained from random weights. Judging and measuring a variant costs the same either way and is left
out on both sides.

`digits` trains each variant alone for as many epochs as a level of the sparse run had. `cifar10` cannot in an hour:
the separate trainings are modelled as (seconds per epoch measured here on that architecture) x 200 epochs, which is
what the authors of the pretrained parent used (akamaster/pytorch_resnet_cifar10), and once the parent's own 200 are
charged to us too.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.record import Run, keep, table
from edgeshift.core.progress import Silent
from edgeshift.core.values import Variant
from edgeshift.data import DataSet, Split, open_set
from edgeshift.derive.job import Job
from edgeshift.derive.line import build
from edgeshift.derive.parent import Parent
from edgeshift.formats import export_onnx, load, read_sparse
from edgeshift.models import build as build_model
from edgeshift.portfolio import Portfolio
from edgeshift.train import METHODS, Task, Training, run_levels

PUBLISHED_EPOCHS = 200
# Images of one timed slice of a CIFAR-10 epoch: 10 steps of 128.
SLICE = 10 * 128


def epochs_of(portfolio: Portfolio, variant: Variant) -> int:
    """Epochs that a variant's level was trained, from its log."""
    return len(portfolio.read(variant, "log").splitlines())


def scratch(portfolio: Portfolio, variant: Variant) -> Callable[[], nn.Module]:
    """A factory of the variant's architecture with random weights."""
    path = portfolio.path_of(variant, "weights")

    def make() -> nn.Module:
        torch.manual_seed(0)
        model = load(path, lambda: build_model(portfolio.model))
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        return model

    return make


def train_alone(factory: Callable[[], nn.Module], data: DataSet, training: Training, part: int = 0) -> float:
    """Processor seconds to train one dense network; only the first `part` training images if given."""
    train, judge = data.split("train"), data.split("validation")
    if part:
        train, judge = (Split(x.images[:n], x.labels[:n]) for x, n in ((train, part), (judge, 128)))
    task = Task(factory, train, judge, data.mean, data.std, ())
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        list(run_levels(METHODS.make("one_shot"), task, training, (1.0,), Path(folder), Silent()))
        return time.process_time() - start


def epoch_seconds(factory: Callable[[], nn.Module], data: DataSet) -> float:
    """Processor seconds of an epoch, from one pass over a slice of it."""
    training = Training(epochs=1, lr=0.1, augment="crop_flip", threads=2)
    return train_alone(factory, data, training, SLICE) * len(data.split("train").labels) / SLICE


def derive(portfolio: Portfolio) -> float:
    """Processor seconds to make all variants of a finished build again from their masked parents."""
    start = time.process_time()
    parent = Parent.of(
        build_model(portfolio.model), portfolio.model, int(portfolio.recipe["shrink.multiple"])
    )
    for variant in portfolio:
        arrays, _ = read_sparse(portfolio.read(variant, "masked"))
        shrunk = parent.shrunk({name: torch.from_numpy(array) for name, array in arrays.items()})
        export_onnx(shrunk.model, parent.sample, None, parent.template)
    return time.process_time() - start


def digits() -> tuple[list[dict[str, Any]], list[str]]:
    """Everything run: one build of the default portfolio, then each variant alone."""
    data = open_set("digits")
    with tempfile.TemporaryDirectory() as folder:
        portfolio = build(Job("resnet8", "digits", Path(folder) / "out", threads=1, quick=True))
        epochs = epochs_of(portfolio, portfolio.variants[0])
        training = Training(epochs=epochs, batch_size=64, lr=0.1, bf16="off", threads=1)
        rows = []
        for variant in portfolio:
            alone = train_alone(scratch(portfolio, variant), data, training)
            rows.append(
                {"variant": variant.name, "parameters": variant.parameters, "alone_s": round(alone, 2)}
            )
        trained = sum(epochs_of(portfolio, v) for v in portfolio) * rows[0]["alone_s"] / epochs
        return rows, sums(rows, trained, derive(portfolio), f"measured, {epochs} epochs each")


def cifar10(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """A finished build; separate trainings from a timed slice of an epoch of each architecture."""
    data, portfolio = open_set("cifar10"), Portfolio.open(path)
    rows = []
    for variant in portfolio:
        epoch = epoch_seconds(scratch(portfolio, variant), data)
        rows.append(
            {
                "variant": variant.name,
                "parameters": variant.parameters,
                "epoch_s": round(epoch, 1),
                "alone_s": round(epoch * PUBLISHED_EPOCHS, 1),
            }
        )
    trained = sum(epochs_of(portfolio, v) for v in portfolio) * rows[0]["epoch_s"]
    derived = derive(portfolio)
    findings = sums(rows, trained, derived, f"modelled, {PUBLISHED_EPOCHS} epochs each")
    both = sum(r["alone_s"] for r in rows) / (rows[0]["alone_s"] + trained + derived)
    return rows, [*findings, f"With the parent's own {PUBLISHED_EPOCHS} epochs charged to us: {both:.2f}x."]


def sums(rows: list[dict[str, Any]], trained: float, derived: float, how: str) -> list[str]:
    """The ratios, in words."""
    alone = sum(r["alone_s"] for r in rows)
    return [
        f"{len(rows)} variants trained alone: {alone:.1f} s ({how}).",
        f"One sparse run: {trained:.1f} s of training; deriving all variants from it: {derived:.1f} s.",
        f"Ratio with the sparse training: {alone / (trained + derived):.2f}x; deriving alone: {alone / derived:.1f}x.",
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=("digits", "cifar10"))
    parser.add_argument("--portfolio", type=Path)
    chosen = parser.parse_args()
    if chosen.data == "cifar10" and chosen.portfolio is None:
        parser.error("cifar10 needs --portfolio, a finished build of cifar10_resnet20")
    rows, findings = digits() if chosen.data == "digits" else cifar10(chosen.portfolio)
    print(table(rows, list(rows[0])))
    print("\n".join(findings))
    run = Run(
        f"derive_cost_{chosen.data}", "Time to derive a portfolio against training every variant separately."
    )
    keep(replace(run, threads=1 if chosen.data == "digits" else 2, spread="none: one run"), rows, findings)


if __name__ == "__main__":
    main()
