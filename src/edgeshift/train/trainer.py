# SPDX-License-Identifier: Apache-2.0
"""One level at a time: where it begins, its epochs and steps, what is saved of it."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeshift.core.errors import NotFinite
from edgeshift.core.progress import Progress, Step
from edgeshift.core.seeds import seed_for
from edgeshift.train.accuracy import batches_of, recalibrate_, top1
from edgeshift.train.batches import Batches
from edgeshift.train.checkpoint import Folder, Part
from edgeshift.train.loss import mixed
from edgeshift.train.macs import Macs
from edgeshift.train.masking import Masking
from edgeshift.train.methods.shape import PASSES, Method
from edgeshift.train.narrow import CHECKED
from edgeshift.train.options import Training
from edgeshift.train.run import Run, copied
from edgeshift.train.task import Level, Task

# A GPU is asked for the loss this often, in steps: each time it has to finish all that it was given.
ASK = 50

# Level and one of its epochs; hears of each as it ends.
Listener = Callable[[int, Mapping[str, float]], None]


def source(task: Task, training: Training, device: str) -> Batches:
    """The training images."""
    return batches_of(task.train, task.mean, task.std, channels_last=training.channels_last, device=device)


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
        device: "cpu" or "cuda".
        macs: What the network costs.
        progress: Hears of every step.
        listener: Hears of every epoch.
    """

    method: Method
    task: Task
    training: Training
    store: Folder
    fresh: Mapping[str, Tensor]
    threads: int
    bf16: bool
    device: str
    macs: Macs
    progress: Progress
    listener: Listener | None = None

    def level(
        self, index: int, kept: float, levels: int, first: Level | None, previous: Level | None
    ) -> Level:
        """Train a level to its end, from its last saved epoch if there is one."""
        batches = source(self.task, self.training, self.device)
        judge = batches_of(
            self.task.validation,
            self.task.mean,
            self.task.std,
            channels_last=self.training.channels_last,
            device=self.device,
        )
        run, curve = self.begin(index, kept, batches.steps(self.training.batch_size), first, previous)
        teacher = self.teacher(first)
        targets = self.targets(teacher, batches, run.steps // run.steps_per_epoch)
        saved = time.monotonic()
        says = f"level {index + 1}/{levels}, kept {kept:.2%}"
        with self.progress.task(says, run.steps) as step:
            step(run.step)
            while run.step < run.steps:
                record = self.epoch(run, batches, judge, teacher, targets, step)
                curve = (*curve, record)
                if self.listener is not None:
                    self.listener(index, record)
                if run.step < run.steps and time.monotonic() - saved >= self.training.checkpoint_seconds:
                    self.store.write_part(index, part(run, curve))
                    saved = time.monotonic()
        self.method.finish(run)
        changed = bool(curve) or index > 0
        if (count := self.method.calibration(self.training)) and changed:
            t = self.training
            recalibrate_(run.model, batches.epoch(t.batch_size, t.augment, t.seed, index, len(curve)), count)
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
        model = placed(model, self.device, channels_last=self.training.channels_last)
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
            steps=self.method.epochs(self.training, index) * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            fresh=self.fresh,
            first=first,
            previous=previous,
            macs=self.macs,
            memory=self.remembered(self.store.read_memory(index - 1) if index else {}),
        )
        saved = self.store.read_part(index)
        if saved is None:
            torch.manual_seed(seed_for(self.training.seed, "begin", index))
            self.method.begin(run)
            return run, ()
        run.model.load_state_dict(saved.state)
        run.memory, run.step, run.steps = self.remembered(saved.memory), saved.step, saved.steps
        run.masking.set_(saved.masks)
        for name, parameter in run.model.named_parameters():
            if name in saved.momentum:
                buffer = torch.empty_like(parameter).copy_(saved.momentum[name])
                run.optimizer.state[parameter]["momentum_buffer"] = buffer
        return run, saved.curve

    def remembered(self, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A method's memory, where the model is."""
        return {name: tensor.to(self.device) for name, tensor in memory.items()}

    def epoch(
        self,
        run: Run,
        batches: Batches,
        judge: Batches,
        teacher: nn.Module | None,
        targets: Sequence[Tensor],
        step: Step,
    ) -> dict[str, float]:
        """Train to the end of the epoch that `run.step` is in."""
        training, started = self.training, time.perf_counter()
        epoch, offset = divmod(run.step, run.steps_per_epoch)
        torch.manual_seed(seed_for(training.seed, "network", run.index, epoch))  # dropout and the like
        how = (training.batch_size, training.augment, training.seed, run.index, epoch)
        drawn: Iterable[tuple[Tensor, Tensor, Tensor | None]]
        if targets:
            drawn = batches.taught(*how, targets=targets, start=offset)
        else:
            plain = batches.epoch(*how, start=offset)
            drawn = ((x, y, None if teacher is None else self.asked(teacher, x)) for x, y in plain)
        # float64 on the model's device: the sum of an epoch is exact enough, and a GPU need not wait.
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        seen, rate, spent, note = 0, 0.0, 0.0, ""
        run.model.train()
        for images, labels, target in drawn:
            if not run.settled and self.method.settled(run) and not run.settle(images[:CHECKED]):
                self.progress.say("dead channels are computed too: the model's own code states its widths")
            rate = training.rate(run.index, run.step, run.steps, run.steps_per_epoch)
            spent += self.method.spent(run) * len(labels)
            outputs, loss = self.step(run, images, labels, target, rate)
            total, seen = total + loss.double() * len(labels), seen + len(labels)
            right += (outputs.argmax(1) == labels).sum()
            if self.device == "cpu" or run.step % ASK == 0 or run.step % run.steps_per_epoch == 0:
                self.must_be_finite(float(total), epoch, run)
                note = f"loss {float(total) / seen:.3f}, accuracy {int(right) / seen:.3f}"
            step(1, note=note)
        finite(dict(run.model.named_parameters()), f"weights after epoch {epoch} of level {run.index}")
        validation = top1(run.model, judge, training.batch_size, lambda x: self.method.forward(run, x))
        step(0, note=f"{note}, validation {validation:.3f}")
        return {
            "epoch": epoch,
            "loss": float(total) / seen,
            "accuracy": int(right) / seen,
            "validation_accuracy": validation,
            "lr": rate,
            "seconds": time.perf_counter() - started,
            "training_macs": spent,
            "dense_training_macs": PASSES * self.macs.dense * seen,
        }

    def must_be_finite(self, loss: float, epoch: int, run: Run) -> None:
        """Raise NotFinite, saying where and what is kept, if a loss is not."""
        if not math.isfinite(loss):
            raise NotFinite(
                f"loss must be finite, got {loss} in epoch {epoch} of level {run.index}; "
                f"lower lr ({self.training.lr_of(run.index)}); the last saved epoch stays in {self.store.path}"
            )

    def step(
        self, run: Run, images: Tensor, labels: Tensor, target: Tensor | None, rate: float
    ) -> tuple[Tensor, Tensor]:
        """One step of the optimizer; the outputs and the loss before it."""
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        run.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            outputs, loss = self.method.loss(run, images, lambda o: self.loss_of(o, labels, target))
        loss.backward()  # type: ignore[no-untyped-call]
        self.method.before_step(run)
        run.masking.mask_gradients_()
        run.optimizer.step()
        run.step += 1
        self.method.after_step(run)
        return outputs.detach(), loss.detach()

    def loss_of(self, outputs: Tensor, labels: Tensor, target: Tensor | None) -> Tensor:
        """The loss of one batch; see `mixed`."""
        t = self.training
        return mixed(
            outputs, labels, target, smoothing=t.label_smoothing, share=t.distil, temperature=t.temperature
        )

    def teacher(self, first: Level | None) -> nn.Module | None:
        """A trained network to distil from, or None where there is none to be had yet."""
        if self.training.distil == 0 or (self.task.teacher is None and first is None):
            return None
        model = self.task.teacher() if self.task.teacher else self.task.factory()
        if self.task.teacher is None and first is not None:
            model.load_state_dict(first.state)
        model = placed(model, self.device, channels_last=self.training.channels_last)
        return model.eval().requires_grad_(False)

    def asked(self, teacher: nn.Module, images: Tensor) -> Tensor:
        """The teacher's outputs, float32, `(n, classes)`."""
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            outputs: Tensor = teacher(images).float()
        return outputs

    def targets(self, teacher: nn.Module | None, batches: Batches, epochs: int) -> list[Tensor]:
        """The teacher's outputs on every view of the images that the epochs show; none where it is asked anew."""
        t = self.training
        found: list[Tensor] = []
        if teacher is None:
            return found
        views = min(t.distil_views, 1 if t.augment == "none" else epochs)
        for view in range(views):
            outputs = self.store.read_view(view)
            if outputs is None:
                with self.progress.task(
                    f"teacher, view {view + 1}/{views}", batches.steps(t.batch_size)
                ) as step:
                    parts = []
                    for images in batches.viewed(t.batch_size, t.augment, t.seed, view):
                        parts.append(self.asked(teacher, images))
                        step(1)
                outputs = torch.cat(parts).cpu()
                self.store.write_view(view, outputs)
            found.append(outputs.to(self.device))
        return found


def placed(model: nn.Module, device: str, *, channels_last: bool) -> nn.Module:
    """The model on its device, in its memory order."""
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device)


def part(run: Run, curve: tuple[Mapping[str, float], ...]) -> Part:
    """The run as it stands, to be saved."""
    momentum = {
        name: run.optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in run.model.named_parameters()
        if run.optimizer.state[parameter].get("momentum_buffer") is not None
    }
    return Part(
        state=run.model.state_dict(),
        masks=run.masking.tensors,
        momentum=momentum,
        memory=run.memory,
        step=run.step,
        steps=run.steps,
        curve=curve,
    )
