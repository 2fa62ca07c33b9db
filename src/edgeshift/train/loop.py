# SPDX-License-Identifier: Apache-2.0
"""The only training loop.

torch.compile is left out: on ResNet-20, batches of 128, one AVX2 core, it gave 268 images per second against
251 (best of 6 steps, processor time), and compiling took 152 s of wall time on a busy machine, per process.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeshift.core.errors import BadValue, NotFinite
from edgeshift.core.progress import Progress, Step
from edgeshift.core.recipe import Recipe
from edgeshift.core.seeds import seed_for
from edgeshift.train.accuracy import batches_of, recalibrate_, top1
from edgeshift.train.batches import Batches
from edgeshift.train.checkpoint import Folder, Part
from edgeshift.train.exact import bf16_pays, has_bf16, repeatable, takes_channels_last
from edgeshift.train.masking import Masking
from edgeshift.train.methods.shape import Method
from edgeshift.train.options import Training
from edgeshift.train.run import Run, copied
from edgeshift.train.task import Level, Task

# Raised whenever equal options would give other bytes.
VERSION = 1


def run_levels(
    method: Method,
    task: Task,
    training: Training,
    levels: tuple[float, ...],
    folder: Path,
    progress: Progress,
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
    trainer = Trainer(method, task, training, store, fresh, facts["threads"], facts["bf16"], progress)
    first: Level | None = None
    previous: Level | None = None
    for index, kept in enumerate(levels):
        level = store.read_level(index, kept)
        if level is None:
            with repeatable(trainer.threads):
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
        {"name": g.name, "macs": g.macs, "rows": {n: r.tolist() for n, r in g.rows.items()}}
        for g in task.groups
    ]
    options: dict[str, Any] = {
        "method": method.card.name,
        "options": asdict(method),  # type: ignore[call-overload]  # plug-ins are dataclasses
        "training": {k: v for k, v in asdict(training).items() if k != "checkpoint_seconds"},
        "mean": task.mean,
        "std": task.std,
        "groups": groups,
        "content": digest.hexdigest(),
    }
    return Recipe("train", VERSION, options).hash()


def decided(task: Task, training: Training) -> dict[str, Any]:
    """What a run decides once, at its start: threads and whether bf16 pays."""
    threads = training.threads or torch.get_num_threads()
    bf16 = training.bf16 == "on"
    if training.bf16 == "auto" and has_bf16():
        with repeatable(threads):
            model, batches = task.factory(), source(task, training)
            if training.channels_last:
                model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            images, labels = next(batches.plain(training.batch_size))
            bf16 = bf16_pays(model, images, labels)
    return {"threads": threads, "bf16": bf16}


def source(task: Task, training: Training) -> Batches:
    """The training images."""
    return batches_of(task.train, task.mean, task.std, channels_last=training.channels_last)


def finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise NotFinite, naming the first tensor, unless all are finite."""
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise NotFinite(f"{what} must be finite, got NaN or infinity in {name}")


@dataclass(frozen=True)
class Trainer:
    """Makes one level at a time.

    Attributes:
        method: See `run_levels`.
        task: See `run_levels`.
        training: See `run_levels`.
        store: Where levels and parts of them lie.
        fresh: State of the factory's weights.
        threads: Of torch.
        bf16: Whether forward passes run under bf16 autocast.
        progress: Hears of every step.
    """

    method: Method
    task: Task
    training: Training
    store: Folder
    fresh: Mapping[str, Tensor]
    threads: int
    bf16: bool
    progress: Progress

    def level(
        self, index: int, kept: float, levels: int, first: Level | None, previous: Level | None
    ) -> Level:
        """Train a level to its end, from its last saved epoch if there is one."""
        batches = source(self.task, self.training)
        judge = batches_of(
            self.task.validation, self.task.mean, self.task.std, channels_last=self.training.channels_last
        )
        run, curve = self.begin(index, kept, batches.steps(self.training.batch_size), first, previous)
        teacher = self.teacher(first)
        saved = time.monotonic()
        says = f"level {index + 1}/{levels}, kept {kept:.2%}"
        with self.progress.task(says, run.steps) as step:
            step(run.step)
            while run.step < run.steps:
                record = self.epoch(run, batches, judge, teacher, step)
                curve = (*curve, record)
                if run.step < run.steps and time.monotonic() - saved >= self.training.checkpoint_seconds:
                    self.store.write_part(index, part(run, curve))
                    saved = time.monotonic()
        changed = bool(curve) or index > 0
        if self.training.recalibrate and changed:
            recalibrate_(run.model, batches, self.training.batch_size, self.training.recalibrate)
        run.masking.apply_()
        state = copied(run.model.state_dict())
        finite(state, f"weights at the end of level {index}")
        accuracy = top1(run.model, judge, self.training.batch_size)
        level = Level(index, kept, self.method.masks(run), state, curve, accuracy).check()
        self.store.write_level(level, run.memory)
        return level

    def begin(
        self, index: int, kept: float, steps_per_epoch: int, first: Level | None, previous: Level | None
    ) -> tuple[Run, tuple[Mapping[str, float], ...]]:
        """A run where its level begins, or where it was saved last, with the curve so far."""
        model = self.task.factory()
        model.load_state_dict(self.fresh)
        if self.training.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = Run(
            task=self.task,
            training=self.training,
            kept=kept,
            index=index,
            model=model,
            masking=Masking(model),
            optimizer=torch.optim.SGD(
                model.parameters(),
                lr=self.training.lr_of(index),
                momentum=self.training.momentum,
                nesterov=self.training.nesterov,
                weight_decay=self.training.weight_decay,
            ),
            steps=self.training.epochs_of(index) * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            fresh=self.fresh,
            first=first,
            previous=previous,
            memory=self.store.read_memory(index - 1) if index else {},
        )
        saved = self.store.read_part(index)
        if saved is None:
            torch.manual_seed(seed_for(self.training.seed, "begin", index))
            self.method.begin(run)
            return run, ()
        run.model.load_state_dict(saved.state)
        run.memory, run.step = dict(saved.memory), saved.step
        run.masking.set_(saved.masks)
        for name, parameter in run.model.named_parameters():
            if name in saved.momentum:
                buffer = torch.empty_like(parameter).copy_(saved.momentum[name])
                run.optimizer.state[parameter]["momentum_buffer"] = buffer
        return run, saved.curve

    def epoch(
        self, run: Run, batches: Batches, judge: Batches, teacher: nn.Module | None, step: Step
    ) -> dict[str, float]:
        """Train to the end of the epoch that `run.step` is in."""
        training, started = self.training, time.perf_counter()
        epoch, offset = divmod(run.step, run.steps_per_epoch)
        torch.manual_seed(seed_for(training.seed, "network", run.index, epoch))  # dropout and the like
        drawn = batches.epoch(
            training.batch_size, training.augment, training.seed, run.index, epoch, start=offset
        )
        total, right, seen, rate = 0.0, 0, 0, 0.0
        run.model.train()
        for images, labels in drawn:
            rate = training.rate(run.index, run.step, run.steps, run.steps_per_epoch)
            outputs, loss = self.step(run, images, labels, teacher, rate)
            if not math.isfinite(loss):
                raise NotFinite(
                    f"loss must be finite, got {loss} in epoch {epoch} of level {run.index}; "
                    f"lower lr ({training.lr_of(run.index)}); the last saved epoch stays in {self.store.path}"
                )
            total, seen = total + loss * len(labels), seen + len(labels)
            right += int((outputs.argmax(1) == labels).sum())
            step(1, note=f"loss {total / seen:.3f}, accuracy {right / seen:.3f}")
        finite(dict(run.model.named_parameters()), f"weights after epoch {epoch} of level {run.index}")
        validation = top1(run.model, judge, training.batch_size)
        step(0, note=f"loss {total / seen:.3f}, accuracy {right / seen:.3f}, validation {validation:.3f}")
        return {
            "epoch": epoch,
            "loss": total / seen,
            "accuracy": right / seen,
            "validation_accuracy": validation,
            "lr": rate,
            "seconds": time.perf_counter() - started,
        }

    def step(
        self, run: Run, images: Tensor, labels: Tensor, teacher: nn.Module | None, rate: float
    ) -> tuple[Tensor, float]:
        """One step of the optimizer; the outputs and the loss before it."""
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        run.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            outputs = run.model(images)
        outputs = outputs.float()
        loss = functional.cross_entropy(outputs, labels, label_smoothing=self.training.label_smoothing)
        if teacher is not None:
            loss = self.distilled(loss, outputs, teacher, images)
        loss.backward()  # type: ignore[no-untyped-call]
        self.method.before_step(run)
        run.masking.mask_gradients_()
        run.optimizer.step()
        run.step += 1
        self.method.after_step(run)
        return outputs.detach(), loss.item()

    def distilled(self, loss: Tensor, outputs: Tensor, teacher: nn.Module, images: Tensor) -> Tensor:
        """The loss mixed with the distance to a teacher (Hinton et al. 2015, arXiv 1503.02531)."""
        share, temperature = self.training.distil, self.training.temperature
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            target = teacher(images).float()
        distance = functional.kl_div(
            functional.log_softmax(outputs / temperature, 1),
            functional.log_softmax(target / temperature, 1),
            log_target=True,
            reduction="batchmean",
        )
        # Soft targets give gradients of 1 / temperature ** 2.
        return (1 - share) * loss + share * temperature**2 * distance

    def teacher(self, first: Level | None) -> nn.Module | None:
        """A trained network to distil from, or None where there is none to be had yet."""
        if self.training.distil == 0 or (self.task.teacher is None and first is None):
            return None
        model = self.task.teacher() if self.task.teacher else self.task.factory()
        if self.task.teacher is None and first is not None:
            model.load_state_dict(first.state)
        if self.training.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.eval().requires_grad_(False)


def part(run: Run, curve: tuple[Mapping[str, float], ...]) -> Part:
    """The run as it stands, to be saved."""
    momentum = {
        name: run.optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in run.model.named_parameters()
        if run.optimizer.state[parameter].get("momentum_buffer") is not None
    }
    return Part(run.model.state_dict(), run.masking.tensors, momentum, run.memory, run.step, curve)
