# SPDX-License-Identifier: Apache-2.0
"""What a variant is worth and what it costs, asked of the file that is shipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.values import Measurement, ModelRef
from edgeshift.data import DataSet, normalise
from edgeshift.derive.job import Job
from edgeshift.formats import open_onnx
from edgeshift.measure import Protocol, accuracy, file_size, latency, peak_memories

# Variants are selected on the first and reported on the second.
SPLITS = ("validation", "test")
# Enough to rank a variant while the build runs; at the end all are measured in turns.
FIRST_LOOK = Protocol(min_repeats=10, min_seconds=0.05, max_seconds=0.5, warmup_seconds=0.1)

# One process in three may be disturbed; a quick look takes the risk.
PROCESSES, QUICK_PROCESSES = 3, 1


@dataclass(frozen=True)
class Judge:
    """Images and labels as a runtime sees them, and how latency is asked for.

    Attributes:
        splits: Split -> images `(n, channels, height, width)`, float32, normalised, and labels `(n,)`, int64.
        batch_sizes: Inputs per call at which latency is measured.
        processes: Fresh processes behind a figure of memory.
        threads: Of the runtime.
    """

    splits: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]]
    batch_sizes: tuple[int, ...]
    processes: int
    threads: int = 1

    @staticmethod
    def of(data: DataSet, ref: ModelRef, job: Job) -> "Judge":
        """The judge for a model's variants."""
        splits = {which: data.split(which) for which in SPLITS}
        scaled = {which: (normalise(s.images, ref.mean, ref.std), s.labels) for which, s in splits.items()}
        return Judge(scaled, job.batch_sizes, QUICK_PROCESSES if job.quick else PROCESSES)

    def accuracy(self, path: Path) -> dict[str, float]:
        """Split -> top-1 accuracy of an ONNX file, 0..1."""
        session = open_onnx(path, self.threads)
        return {which: accuracy(session, images, labels) for which, (images, labels) in self.splits.items()}

    def figures(self, path: Path) -> tuple[Measurement, ...]:
        """Size, memory and a first look at the latency of an ONNX file."""
        session = open_onnx(path, self.threads)
        one = self.splits["validation"][0][:1]
        timed = [latency(session, one, size, self.threads, FIRST_LOOK) for size in self.batch_sizes]
        return (file_size(path), *timed, *peak_memories(path, 1, self.threads, self.processes))
