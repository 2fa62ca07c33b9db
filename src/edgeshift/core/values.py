# SPDX-License-Identifier: Apache-2.0
"""What the rooms hand each other. Every value has `check()`, called at the hand-off."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, NotFinite

SPLITS = ("train", "validation", "test")
KINDS = ("measured", "predicted", "modelled")


@dataclass(frozen=True)
class ModelRef:
    """A model by name, so that it can be built again without pickle.

    Attributes:
        name: Zoo name such as "resnet20", or "package.module:factory" of the user's own code.
        classes: Number of classes, at least 2.
        input_shape: `(channels, height, width)` or any shape without the batch axis.
        options: Keyword arguments for the factory; JSON values only.
        mean: Per input channel, subtracted from pixels in 0..1; empty = the data set's own.
        std: Per input channel, divides after `mean`; empty = the data set's own.
    """

    name: str
    classes: int
    input_shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def check(self) -> "ModelRef":
        """Self, or BadValue."""
        if self.classes < 2:
            raise BadValue("classes", self.classes, "at least 2")
        if not self.input_shape or min(self.input_shape) < 1:
            raise BadValue("input_shape", self.input_shape, "positive sizes without the batch axis")
        if len(self.mean) != len(self.std) or any(s <= 0 for s in self.std):
            raise BadValue("std", self.std, "above 0, one for each mean")
        return self


@dataclass(frozen=True)
class Masks:
    """Which weights stay: one bool array per masked parameter.

    Attributes:
        tensors: Parameter name -> bool array of the parameter's shape; True = kept.
    """

    tensors: Mapping[str, NDArray[np.bool_]]

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(int(m.sum()) for m in self.tensors.values())

    @property
    def total(self) -> int:
        """Number of weights under a mask."""
        return sum(m.size for m in self.tensors.values())

    @property
    def sparsity(self) -> float:
        """Removed over all, 0..1; 0 when nothing is masked."""
        return 1 - self.kept / self.total if self.total else 0.0

    def check(self) -> "Masks":
        """Self, or BadValue."""
        for name, mask in self.tensors.items():
            if mask.dtype != np.bool_:
                raise BadValue(f"mask of {name}", str(mask.dtype), "bool")
        return self


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of several layers that can only be removed together.

    Attributes:
        name: The first producer's module, such as "layer1.0.conv1".
        rows: Parameter name -> int array `(channels, k)`: the rows (axis 0) that make each channel.
            Zeroing all of them, batch-norm scale and shift included, makes the channel constant zero.
        macs: Multiply-accumulates that go per channel when it is removed, for one input.
        columns: Parameter name -> int array `(channels, k)`: the columns (axis 1) that read each channel, of
            convolutions and linear layers. Zeroing all of them makes the channel unread.
    """

    name: str
    rows: Mapping[str, NDArray[np.int64]]
    macs: float
    columns: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Number of channels in the group."""
        return int(next(iter(self.rows.values())).shape[0])

    def check(self) -> "ChannelGroup":
        """Self, or BadValue."""
        if len({r.shape[0] for r in (*self.rows.values(), *self.columns.values())}) != 1:
            raise BadValue(
                f"rows of {self.name}", {n: r.shape for n, r in self.rows.items()}, "equally many channels"
            )
        return self


@dataclass(frozen=True)
class Measurement:
    """One figure with its protocol.

    Attributes:
        quantity: "latency", "peak_memory", "file_size" ...
        value: The median, in `unit`.
        unit: "ms", "bytes" ...
        kind: One of `KINDS`; the house never mixes them.
        device: What it ran on, such as "AMD EPYC, 2 cores, AVX2".
        runtime: Name and version, such as "onnxruntime 1.31.1".
        threads: Intra-op threads.
        batch_size: Inputs per call.
        repeats: Number of timed calls behind the median.
        warmup: Calls before them that do not count.
        p95: 95th percentile in `unit`.
        spread: Interquartile range over median, 0 or more.
    """

    quantity: str
    value: float
    unit: str
    kind: str = "measured"
    device: str = ""
    runtime: str = ""
    threads: int = 1
    batch_size: int = 1
    repeats: int = 1
    warmup: int = 0
    p95: float | None = None
    spread: float | None = None

    def check(self) -> "Measurement":
        """Self, or BadValue / NotFinite."""
        if self.kind not in KINDS:
            raise BadValue("kind", self.kind, f"one of {', '.join(KINDS)}")
        if not math.isfinite(self.value) or self.value < 0:
            raise NotFinite(f"{self.quantity} must be a finite number from 0, got {self.value}")
        if self.repeats < 1 or self.threads < 1 or self.batch_size < 1:
            raise BadValue(
                "repeats, threads and batch_size", (self.repeats, self.threads, self.batch_size), "from 1"
            )
        return self


@dataclass(frozen=True)
class FileRef:
    """A file of a portfolio.

    Attributes:
        path: Relative to the portfolio, with `/`, never leaving it.
        sha256: 64 hex digits.
        size_bytes: Length of the file.
    """

    path: str
    sha256: str
    size_bytes: int

    def check(self) -> "FileRef":
        """Self, or BadValue."""
        parts = self.path.split("/")
        if self.path.startswith("/") or "\\" in self.path or any(p in ("", ".", "..") for p in parts):
            raise BadValue("path", self.path, "a relative path inside the portfolio")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise BadValue("sha256", self.sha256, "64 hex digits")
        if self.size_bytes < 0:
            raise BadValue("size_bytes", self.size_bytes, "0 or more")
        return self


@dataclass(frozen=True)
class Proof:
    """What was tried to show that shrinking changed nothing.

    Attributes:
        max_error_float64: Largest |difference| over largest |output|, both run in float64.
        max_error: The same in the model's own dtype.
        inputs: How many input batches were tried.
        kinds: Names of the input kinds tried, such as "random", "border".
        tolerance: What `max_error_float64` had to stay under.
    """

    max_error_float64: float
    max_error: float
    inputs: int
    kinds: tuple[str, ...]
    tolerance: float

    def check(self) -> "Proof":
        """Self, or BadValue."""
        if not self.max_error_float64 <= self.tolerance:
            raise BadValue("max_error_float64", self.max_error_float64, f"at most {self.tolerance}")
        return self


@dataclass(frozen=True)
class Variant:
    """One member of a portfolio.

    Attributes:
        id: First 16 hex digits of the hash over its files' hashes: equal content, equal id.
        name: Short label such as "level-3".
        files: Role -> file. Roles: "weights" (safetensors), "plan" (shape plan), "onnx", "log" (training curve).
        recipe: Stage name -> `{method, version, options}`.
        accuracy: Split name -> top-1, 0..1. Selected on "validation", reported on "test".
        parameters: Number of parameters after shrinking.
        macs: Multiply-accumulates for one input after shrinking.
        sparsity: Removed / all weights of the masked model it came from, 0..1.
        widths: Layer name -> output channels after shrinking, in forward order.
        measurements: Latency, memory, size.
        proof: What showed that shrinking was exact.
    """

    id: str
    name: str
    files: Mapping[str, FileRef]
    recipe: Mapping[str, Any]
    accuracy: Mapping[str, float]
    parameters: int
    macs: int
    sparsity: float
    widths: Mapping[str, int]
    measurements: tuple[Measurement, ...]
    proof: Proof

    def measured(self, quantity: str, batch_size: int = 1, threads: int = 1) -> Measurement:
        """The measurement of that quantity.

        Raises:
            BadValue: If there is none.
        """
        for m in self.measurements:
            if (m.quantity, m.batch_size, m.threads) == (quantity, batch_size, threads):
                return m
        raise BadValue(
            f"measurement of {self.name}", quantity, f"one of {[m.quantity for m in self.measurements]}"
        )

    def check(self) -> "Variant":
        """Self, or the first error among its parts."""
        if set(self.id) - set("0123456789abcdef") or len(self.id) != 16:
            raise BadValue("variant id", self.id, "16 hex digits")
        if not self.files:
            raise BadValue(f"files of {self.name}", {}, "at least one")
        for file in self.files.values():
            file.check()
        for split, value in self.accuracy.items():
            if split not in SPLITS or not 0 <= value <= 1:
                raise BadValue(
                    f"accuracy of {self.name}", {split: value}, "0..1 on train, validation or test"
                )
        if not 0 <= self.sparsity <= 1:
            raise BadValue("sparsity", self.sparsity, "0..1")
        for measurement in self.measurements:
            measurement.check()
        self.proof.check()
        return self


def to_json(value: Any) -> dict[str, Any]:
    """A value as JSON types."""
    return asdict(value)


def variant_from_json(raw: Mapping[str, Any]) -> Variant:
    """The variant that `to_json` wrote, checked.

    Raises:
        BadValue: If a field is missing, unknown or out of range.
    """
    try:
        fields = dict(raw)
        fields["files"] = {role: FileRef(**f) for role, f in fields["files"].items()}
        fields["measurements"] = tuple(Measurement(**m) for m in fields["measurements"])
        fields["proof"] = Proof(**{**fields["proof"], "kinds": tuple(fields["proof"]["kinds"])})
        return Variant(**fields).check()
    except (TypeError, KeyError, AttributeError) as error:
        raise BadValue("variant", str(error), "a record with the fields of Variant") from error


def model_ref_from_json(raw: Mapping[str, Any]) -> ModelRef:
    """The reference that `to_json` wrote, checked.

    Raises:
        BadValue: If a field is missing, unknown or out of range.
    """
    try:
        tuples = {k: tuple(raw[k]) for k in ("input_shape", "mean", "std")}
        return ModelRef(**{**raw, **tuples}).check()
    except (TypeError, KeyError) as error:
        raise BadValue("model", str(error), "a record with the fields of ModelRef") from error
