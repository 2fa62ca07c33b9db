# SPDX-License-Identifier: Apache-2.0
"""The product, top to bottom: train, sparsify, shrink, export, measure, keep."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from edgeshift.core.errors import NotExact
from edgeshift.core.files import read_json, write_json
from edgeshift.core.progress import Progress, Silent
from edgeshift.core.recipe import Recipe
from edgeshift.core.values import SPLITS, ModelRef, Proof, to_json
from edgeshift.data import DataSet, open_set
from edgeshift.derive.choices import choose
from edgeshift.derive.folder import LEVELS, WORK, check_out, claim, scratch
from edgeshift.derive.job import Job
from edgeshift.derive.judge import Judge
from edgeshift.derive.parent import Parent
from edgeshift.derive.remeasure import bench
from edgeshift.formats import export_onnx, sparse_bytes, weight_bytes
from edgeshift.graph import Shrunk, channel_groups
from edgeshift.models import build as build_model
from edgeshift.models import load_weights, pretrained, resolve
from edgeshift.portfolio import Draft, Golden, Portfolio
from edgeshift.train import Level, Task, run_levels
from edgeshift.train.board import Board


def build(job: Job, progress: Progress | None = None) -> Portfolio:
    """A portfolio: one variant for each level of sparsity, each exact, exported and measured.

    Killed at any moment and called again with `resume`, it goes on, and what it leaves is what an unbroken
    build leaves, measurements apart.

    Args:
        job: What to build.
        progress: Who is told how far it is.

    Raises:
        EdgeShiftError: One line about the first thing that cannot be used; see `edgeshift.core.errors`.
    """
    progress = progress or Silent()
    check_out(job.check().out, resume=job.resume)
    with progress.task("preparing", 3) as step:
        data = open_set(job.data)
        ref = reference(job, data)
        step(note="tracing the model")
        factory = beginning(job, ref)
        choices = choose(job, ref, data)
        parent = Parent.of(
            factory(), ref, job.multiple
        )  # a model that cannot be traced is found before it is trained
        step(note="grouping channels")
        groups = channel_groups(parent.model, parent.sample)
        step()
    task = Task(factory, data.split("train"), data.split("validation"), ref.mean, ref.std, groups)
    portfolio = claim(job.out, ref, facts(data), choices.recipe, resume=job.resume)
    judge = Judge.of(data, ref, job)
    folder = job.out / WORK / LEVELS
    with progress.task(f"{ref.name} on {data.name}", len(choices.levels)) as step, board(job) as listener:
        for level in run_levels(
            choices.method, task, choices.training, choices.levels, folder, progress, listener
        ):
            if name_of(level) not in {variant.name for variant in portfolio}:
                portfolio = keep(portfolio, level, parent, judge, progress)
            progress.say(line_about(portfolio, level))
            step()
    return portfolio if job.quick else measured(portfolio, job, progress)


@contextmanager
def board(job: Job) -> Iterator[Board | None]:
    """Who hears of every epoch: event files, if they were asked for.

    Raises:
        NotInstalled: If they were and tensorboard is missing.
    """
    if not job.tensorboard:
        yield None
        return
    found = Board(job.out / WORK / "tensorboard")
    try:
        yield found
    finally:
        found.close()


def keep(portfolio: Portfolio, level: Level, parent: Parent, judge: Judge, progress: Progress) -> Portfolio:
    """The portfolio and one more variant: a level shrunk, exported, opened again, judged and measured."""
    says = f"{name_of(level)}: shrink, export, measure"
    with scratch(portfolio.path) as folder, progress.task(says, 3) as step:
        shrunk = parent.shrunk(level.state)
        size, onnx = shrunk.report.after, folder / "model.onnx"
        step(note="exporting to ONNX")
        export_onnx(shrunk.model, parent.sample, onnx, parent.template)
        step(note="measuring")
        draft = Draft(
            name=name_of(level),
            recipe=stages(portfolio, level),
            accuracy=judge.accuracy(onnx),
            parameters=size.parameters,
            macs=size.macs,
            sparsity=level.masks.sparsity,
            widths=size.widths,
            measurements=judge.figures(onnx),
            proof=proof_of(shrunk),
        )
        step()
        return portfolio.add(draft, {"onnx": onnx, **contents(level, parent, shrunk)})


def contents(level: Level, parent: Parent, shrunk: Shrunk) -> dict[str, bytes]:
    """Role -> file, for everything of a variant but its ONNX file."""
    with torch.inference_mode():
        answer = deepcopy(parent.model).double()(parent.sample.double())
    return {
        "weights": weight_bytes(shrunk.model, shrunk.plan),
        "masked": sparse_bytes({name: tensor.numpy() for name, tensor in level.state.items()}),
        "golden": Golden(parent.sample.numpy(), answer.numpy()).to_bytes(),
        "log": "".join(json.dumps(dict(epoch)) + "\n" for epoch in level.curve).encode(),
    }


def proof_of(shrunk: Shrunk) -> Proof:
    """The proof that shrinking was exact.

    Raises:
        NotExact: If there is none.
    """
    proof: Proof | None = shrunk.proof
    if proof is None:
        raise NotExact("a variant must be proved exact, got no proof")
    return proof


def measured(portfolio: Portfolio, job: Job, progress: Progress) -> Portfolio:
    """The portfolio, its latencies measured in turns; not again if nothing was added since."""
    done, ids = job.out / WORK / "measured.json", [variant.id for variant in portfolio]
    if not done.exists() or read_json(done) != ids:
        portfolio = bench(portfolio, batch_sizes=job.batch_sizes, memory=False, progress=progress)
        write_json(done, ids)
    return portfolio


def reference(job: Job, data: DataSet) -> ModelRef:
    """The model, with the scaling of its inputs: its own if it came trained, else the data set's."""
    ref: ModelRef = resolve(
        job.model, classes=len(data.classes), input_shape=data.input_shape, options=job.model_options
    )
    return ref if ref.mean else replace(ref, mean=tuple(data.mean), std=tuple(data.std)).check()


def beginning(job: Job, ref: ModelRef) -> Callable[[], nn.Module]:
    """Builds the model that training starts from; every call gives equal weights.

    Raises:
        BadWeights: If the weights do not fit; names the first tensor and both shapes.
        NotFinite: If a weight is NaN or infinite.
    """
    source = job.weights or (ref.name if ref.name in pretrained() else None)
    first = build_model(ref, seed=job.seed)
    if source is not None:
        load_weights(first, source)
    return partial(deepcopy, first)


def facts(data: DataSet) -> dict[str, Any]:
    """What a portfolio keeps of its data set, JSON values."""
    return {
        "name": data.name,
        "classes": list(data.classes),
        "input_shape": list(data.input_shape),
        "mean": list(data.mean),
        "std": list(data.std),
        "images": {which: len(data.split(which).labels) for which in SPLITS},
    }


def stages(portfolio: Portfolio, level: Level) -> dict[str, Any]:
    """Stage -> recipe of one variant."""
    options = {"level": level.index, "kept": level.kept}
    return {
        "train": to_json(Recipe(str(portfolio.recipe["method.name"]), 1, options)),
        "shrink": to_json(Recipe("dead_channels", 1, {"multiple": portfolio.recipe["shrink.multiple"]})),
    }


def name_of(level: Level) -> str:
    """Name of a level's variant."""
    return f"level-{level.index}"


def line_about(portfolio: Portfolio, level: Level) -> str:
    """One line about a finished variant."""
    variant = portfolio.find(name_of(level))
    return (
        f"{variant.name}: {level.kept:.2%} of the weights kept, {variant.parameters:,} parameters, "
        f"{variant.macs:,} MACs, {variant.accuracy['validation']:.1%} on validation"
    )
