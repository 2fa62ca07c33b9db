# SPDX-License-Identifier: Apache-2.0
"""Slower clocks on a machine whose clock cannot be set: time dilation in process, and a real-time spinner.

Dilation spins `(1 / f - 1) * t` after each run that took t: exact at the median, portable, no root. The spinner takes
`1 - f` of the core in every millisecond with SCHED_FIFO; its latencies follow 1 / f within 5 to 15 %.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.backends.shape import Backend, Model

SOURCE = Path(__file__).with_name("spinner.c")
PERIOD_US = 1000


@dataclass
class Share:
    """The relative clock that dilation plays, 0..1."""

    value: float = 1.0


class _Dilated(Model):
    def __init__(self, model: Model, share: Share) -> None:
        self._model, self._share = model, share
        self.inputs, self.outputs = model.inputs, model.outputs

    def run(
        self, inputs: Mapping[str, NDArray[Any]], limit_s: float = float("inf")
    ) -> dict[str, NDArray[Any]]:
        """See `Model.run`; takes 1 / f as long."""
        start = time.perf_counter()
        found = self._model.run(inputs, limit_s)
        end = start + (time.perf_counter() - start) / self._share.value
        while time.perf_counter() < end:
            pass
        return found


@dataclass(frozen=True)
class Dilated(Backend):
    """ONNX Runtime as on a device whose clock is `share`."""

    card: ClassVar[Card] = Card("dilated", "ONNX Runtime at a slower clock.", "house rule")

    share: Share = field(default_factory=Share)
    inner: Onnxruntime = field(default_factory=Onnxruntime)

    @property
    def runtime(self) -> str:
        """See `Backend.runtime`."""
        return self.inner.runtime

    @property
    def level(self) -> str:
        """See `Backend.level`."""
        return self.inner.level

    def build(self, onnx: bytes, target: Path) -> None:
        """See `Backend.build`."""
        self.inner.build(onnx, target)

    def open(self, source: Path | bytes, threads: int) -> Model:
        """See `Backend.open`."""
        return _Dilated(self.inner.open(source, threads), self.share)

    def reference(self, onnx: bytes) -> Model:
        """See `Backend.reference`."""
        return self.inner.reference(onnx)


def write_cpufreq(root: Path, share: float, full_khz: int = 2_000_000) -> None:
    """What `/sys` says on a device with that clock, below a root of our own."""
    folder = root / "sys/devices/system/cpu/cpufreq/policy0"
    folder.mkdir(parents=True, exist_ok=True)
    for name, khz in (
        ("cpuinfo_max_freq", full_khz),
        ("scaling_max_freq", full_khz),
        ("scaling_cur_freq", round(share * full_khz)),
    ):
        (folder / name).write_text(f"{khz}\n")


def cannot_spin() -> str:
    """Why the spinner cannot run here; empty = it can."""
    if not hasattr(os, "sched_setscheduler"):
        return "this system has no SCHED_FIFO"
    if os.geteuid() != 0:
        return "SCHED_FIFO needs root"
    groups = Path("/proc/self/cgroup")
    if groups.exists():
        for line in groups.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if "cpu" in controllers.split(",") and place != "/":
                return f"the process must be in the root cgroup, got {place}: a child group has no real-time budget"
    return ""


def compiled(folder: Path) -> Path:
    """The spinner, compiled with the system's C compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "spinner"
    subprocess.run(["cc", "-O2", "-o", str(target), str(SOURCE)], check=True)
    return target


@contextmanager
def spinning(program: Path, core: int, share: float) -> Iterator[None]:
    """A core of which that share of the clock is left."""
    if share >= 1:
        yield
        return
    words = [str(program), str(core), str(1 - share), str(PERIOD_US)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                said = process.stderr.read().strip() if process.stderr else ""
                raise RuntimeError(f"spinner must start, got: {said or process.wait()}")
            yield
        finally:
            process.terminate()
            process.wait()
