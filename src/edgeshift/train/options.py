# SPDX-License-Identifier: Apache-2.0
"""The options of the training loop. Imports no torch."""

import math
from dataclasses import dataclass

from edgeshift.core.errors import BadValue

AUGMENTS = ("none", "crop", "crop_flip")
BF16 = ("auto", "on", "off", "trial")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Training:
    """How every level is trained. Equal options and seed give equal bytes on one CPU; a GPU adds up in any order.

    The exception is `bf16="trial"`, which may end one way today and another tomorrow; a run keeps what its first
    start decided.

    Attributes:
        epochs: Per level; 0 = only cut and evaluate.
        first_epochs: For level 0; None = as `epochs`. 0 takes the factory's weights as they are.
        batch_size: Images per step; the last batches of an epoch are evened out, so none is tiny.
        lr: Highest learning rate of a level.
        first_lr: For level 0; None = as `lr`.
        momentum: 0 to below 1.
        nesterov: Look ahead along the momentum.
        weight_decay: L2 on every parameter.
        label_smoothing: Share of the target spread over all classes, 0 to below 1.
        warmup_epochs: The learning rate rises linearly that long, then falls along a cosine to 0.
        augment: "none", "crop" (shift by up to an eighth of the side) or "crop_flip" (and mirror).
        channels_last: Memory order of convolutions; 1.1 to 1.2 times the images per second on
            ResNet-20 with 1 and 2 threads (bench/train).
        bf16: "auto" = on a GPU that has it, never on a CPU; "trial" = also where the CPU has the instructions and
            a stopwatch finds them faster.
        device: "cpu", "cuda", or "auto" = a GPU where torch finds one when a run starts.
        threads: Of torch; None = as torch has it when a run starts. Part of what makes bytes equal.
        seed: Of shuffling, augmentation and dropout.
        distil: Weight of a teacher's soft labels in the loss, 0..1; 0 = no teacher.
        temperature: Softens teacher and student, above 0.
        distil_views: Augmented views of each image that the teacher is asked about, once each, before a level begins;
            epochs take them in turn. It then costs that many of its passes over the data, not one in every epoch
            (Shen & Xing 2022, arXiv 2112.01528). 0 = images are augmented anew in each epoch, and it is asked anew.
        recalibrate: Training batches, augmented as in training, to measure batch-norm statistics anew at the end of a
            level.
        checkpoint_seconds: A level in training is saved at the first epoch end after that long.
    """

    epochs: int = 30
    first_epochs: int | None = None
    batch_size: int = 128
    lr: float = 0.1
    first_lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    warmup_epochs: float = 1.0
    augment: str = "none"
    channels_last: bool = True
    bf16: str = "auto"
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    distil: float = 0.0
    temperature: float = 4.0
    distil_views: int = 0
    recalibrate: int = 0
    checkpoint_seconds: float = 20.0

    def check(self) -> "Training":
        """Self, or BadValue."""
        first_epochs, first_lr = self.epochs_of(0), self.lr_of(0)
        for what, value, good, want in (
            ("epochs", self.epochs, self.epochs >= 0, "0 or more"),
            ("first_epochs", first_epochs, first_epochs >= 0, "0 or more"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("lr", self.lr, 0 < self.lr < math.inf, "above 0"),
            ("first_lr", first_lr, 0 < first_lr < math.inf, "above 0"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1"),
            ("nesterov", self.nesterov, not self.nesterov or self.momentum > 0, "false without momentum"),
            ("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more"),
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "0 to below 1"),
            ("warmup_epochs", self.warmup_epochs, 0 <= self.warmup_epochs < math.inf, "0 or more"),
            ("augment", self.augment, self.augment in AUGMENTS, f"one of {', '.join(AUGMENTS)}"),
            ("bf16", self.bf16, self.bf16 in BF16, f"one of {', '.join(BF16)}"),
            ("device", self.device, self.device in DEVICES, f"one of {', '.join(DEVICES)}"),
            ("threads", self.threads, self.threads is None or self.threads >= 1, "at least 1, or None"),
            ("distil", self.distil, 0 <= self.distil <= 1, "0 to 1"),
            ("temperature", self.temperature, 0 < self.temperature < math.inf, "above 0"),
            ("distil_views", self.distil_views, self.distil_views >= 0, "0 or more"),
            ("distil", self.distil, self.distil > 0 or not self.distil_views, "above 0 with distil_views"),
            ("recalibrate", self.recalibrate, self.recalibrate >= 0, "0 or more"),
            ("checkpoint_seconds", self.checkpoint_seconds, self.checkpoint_seconds >= 0, "0 or more"),
        ):
            if not good:
                raise BadValue(what, value, want)
        return self

    def epochs_of(self, level: int) -> int:
        """Epochs of that level."""
        return self.first_epochs if level == 0 and self.first_epochs is not None else self.epochs

    def lr_of(self, level: int) -> float:
        """Highest learning rate of that level."""
        return self.first_lr if level == 0 and self.first_lr is not None else self.lr

    def rate(self, level: int, step: int, steps: int, steps_per_epoch: int) -> float:
        """The learning rate of one step: linear warm-up, then a cosine to 0.

        Args:
            level: Index of the level.
            step: From 0 to below `steps`.
            steps: Of the whole level.
            steps_per_epoch: Turns `warmup_epochs` into steps; at most half of `steps` are warm-up.
        """
        top = self.lr_of(level)
        warmup = min(round(self.warmup_epochs * steps_per_epoch), steps // 2)
        if step < warmup:
            return top * (step + 1) / warmup
        return top / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
