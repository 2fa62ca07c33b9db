# SPDX-License-Identifier: Apache-2.0
"""The only training loop.

torch.compile is left out: on ResNet-20, batches of 128, one AVX2 core, it gave 268 images per second against
251 (best of 6 steps, processor time), and compiling took 152 s of wall time on a busy machine, per process.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeshift.core.errors import BadValue
from edgeshift.core.files import sha256_file
from edgeshift.core.progress import Progress
from edgeshift.core.recipe import Recipe
from edgeshift.train.checkpoint import Folder
from edgeshift.train.exact import bf16_pays, has_bf16, repeatable, takes_channels_last
from edgeshift.train.macs import counted
from edgeshift.train.methods.shape import Method
from edgeshift.train.options import Training
from edgeshift.train.run import copied
from edgeshift.train.task import Level, Task
from edgeshift.train.trainer import Listener, Trainer, finite, source

# Raised whenever equal options would give other bytes.
VERSION = 5
# What of a channel group decides bytes, beside its name and cost.
TABLES = ("rows", "columns")


def run_levels(
    method: Method,
    task: Task,
    training: Training,
    levels: tuple[float, ...],
    folder: Path,
    progress: Progress,
    listener: Listener | None = None,
) -> Iterator[Level]:
    """Train level after level; each is given out when it is finished and lies in the folder.

    A level that lies there already is read, not trained; one that was in training goes on at its last
    saved epoch. Either way the bytes are those of a run that nobody stopped.

    Args:
        method: How levels begin and what changes while they are trained.
        task: Network and data.
        training: Options of the loop.
        levels: Kept fractions, falling, above 0.
        folder: Made if it is not there; more levels may be asked of it later.
        progress: Hears of every step.
        listener: Hears of every epoch.

    Yields:
        The levels in order.

    Raises:
        BadValue: If an option or the levels are out of range.
        FolderTaken: If the folder holds another run or something else.
        NotFinite: If a weight or the loss is NaN or infinite; the last saved epoch stays in the folder.
    """
    training.check()
    task.check()
    if not levels or not all(0 < kept <= 1 for kept in levels) or any(a <= b for a, b in pairwise(levels)):
        raise BadValue("levels", levels, "kept fractions that fall, each above 0 and at most 1")
    method.check(levels)
    store = Folder(folder)
    model = task.factory()
    fresh = copied(model.state_dict())
    finite(fresh, "weights of the factory")
    key = key_of(method, task, training, fresh)
    if training.channels_last and not takes_channels_last(model):
        progress.say(
            "channels first in memory: a narrow strided 1x1 convolution is unsafe in the other order"
        )
        training = replace(training, channels_last=False)
    facts = store.start(key, lambda: decided(task, training))
    macs = counted(model, next(source(task, training, "cpu").plain(1))[0], task.groups)
    del model
    trainer = Trainer(
        method=method,
        task=task,
        training=training,
        store=store,
        fresh=fresh,
        threads=facts["threads"],
        bf16=facts["bf16"],
        device=facts["device"],
        macs=macs,
        progress=progress,
        listener=listener,
    )
    first: Level | None = None
    previous: Level | None = None
    for index, kept in enumerate(levels):
        level = store.read_level(index, kept)
        if level is None:
            with repeatable(trainer.threads, trainer.device):
                level = trainer.level(index, kept, len(levels), first, previous)
        else:
            progress.say(f"level {index + 1}/{len(levels)}, kept {kept:.2%}: read from {folder}")
        first, previous = first or level, level
        yield level


def key_of(method: Method, task: Task, training: Training, fresh: Mapping[str, Tensor]) -> str:
    """Hash of all that decides the bytes of a level, except the levels themselves."""
    digest = hashlib.sha256()
    for split in (task.train, task.validation):
        digest.update(split.sha256().encode())
    teacher = task.teacher().state_dict() if task.teacher else {}
    for name, tensor in (*fresh.items(), *teacher.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    groups = [
        {
            "name": g.name,
            "macs": g.macs,
            **{t: {n: r.tolist() for n, r in getattr(g, t).items()} for t in TABLES},
        }
        for g in task.groups
    ]
    options: dict[str, Any] = {
        "method": method.card.name,
        "options": asdict(method),  # type: ignore[call-overload]  # plug-ins are dataclasses
        "reads": [sha256_file(path) for path in method.reads()],
        "training": {k: v for k, v in asdict(training).items() if k != "checkpoint_seconds"},
        "mean": task.mean,
        "std": task.std,
        "groups": groups,
        "content": digest.hexdigest(),
    }
    return Recipe("train", VERSION, options).hash()


def decided(task: Task, training: Training) -> dict[str, Any]:
    """What a run decides once, at its start: device, threads and whether bf16 pays.

    Raises:
        BadValue: If a GPU is asked for and torch finds none.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise BadValue("device", training.device, "cpu or auto where torch finds no GPU")
    device = "cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu"
    threads = training.threads or torch.get_num_threads()
    bf16 = training.bf16 == "on"
    if device == "cuda":
        bf16 = bf16 or (training.bf16 in ("auto", "trial") and torch.cuda.is_bf16_supported())
    elif training.bf16 == "trial" and has_bf16():
        with repeatable(threads):
            model, batches = task.factory(), source(task, training, device)
            if training.channels_last:
                model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            images, labels = next(batches.plain(training.batch_size))
            bf16 = bf16_pays(model, images, labels)
    return {"threads": threads, "bf16": bf16, "device": device}
