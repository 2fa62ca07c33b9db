# SPDX-License-Identifier: Apache-2.0
"""What one build is asked to do; equal jobs leave equal variants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadValue


@dataclass(frozen=True)
class Job:
    """Everything a build is told. Empty fields are filled from the settings.

    Attributes:
        model: Zoo or pretrained name, or "package.module:factory".
        data: Data-set name, folder of class folders, or `.npz` file.
        out: Folder for the portfolio.
        weights: `.safetensors` file to start from; None = a pretrained name's own, else fresh.
        method: Training method; empty = the settings'.
        method_options: Fields of the method, JSON values; empty = the settings', if they name the method.
        model_options: Keyword arguments of the model, JSON values.
        train_options: Fields of `edgeshift.train.Training`, over the settings'.
        levels: Kept shares of the maskable weights, falling, each in (0, 1]; empty = the settings'.
        epochs: Per level; None = the settings'.
        settings: Where the rest comes from; empty = the data set's own.
        seed: Of weights, order and augmentation.
        threads: To train with; None = every core this process may use.
        resume: Go on in `out` instead of asking for an empty folder.
        batch_sizes: Inputs per call at which latency is measured.
        multiple: Widths are rounded up to it with dead channels, which stays exact. 4 is what ONNX Runtime's blocked
            kernels ask at least; 1 = as small as the zeros allow.
        quick: Measure each variant briefly, and not all in turns at the end.
        tensorboard: Write the training log as event files too, in `out/work/tensorboard`.
    """

    model: str
    data: str
    out: Path
    weights: Path | None = None
    method: str = ""
    method_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    train_options: Mapping[str, Any] = field(default_factory=dict)
    levels: tuple[float, ...] = ()
    epochs: int | None = None
    settings: str = ""
    seed: int = 0
    threads: int | None = None
    resume: bool = False
    batch_sizes: tuple[int, ...] = (1, 32)
    multiple: int = 4
    quick: bool = False
    tensorboard: bool = False

    def check(self) -> "Job":
        """Self, or BadValue."""
        if any(not 0 < kept <= 1 for kept in self.levels):
            raise BadValue("levels", self.levels, "shares above 0 and up to 1")
        if any(a <= b for a, b in zip(self.levels, self.levels[1:], strict=False)):
            raise BadValue("levels", self.levels, "falling, such as 1,0.5,0.25")
        if self.epochs is not None and self.epochs < 0:
            raise BadValue("epochs", self.epochs, "0 or more")
        if self.threads is not None and self.threads < 1:
            raise BadValue("threads", self.threads, "at least 1")
        if self.multiple < 1:
            raise BadValue("multiple", self.multiple, "at least 1")
        if self.seed < 0:
            raise BadValue("seed", self.seed, "0 or more")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise BadValue("batch_sizes", self.batch_sizes, "whole numbers from 1")
        if self.weights is not None and self.weights.suffix != ".safetensors":
            raise BadValue("weights", str(self.weights), "a .safetensors file; nothing else is opened")
        return self
