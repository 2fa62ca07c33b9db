# SPDX-License-Identifier: Apache-2.0
"""What a variant is worth and what it costs, asked of the file that is shipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.values import Measurement, ModelRef
from edgeshift.data import DataSet, normalise
from edgeshift.formats import open_onnx
from edgeshift.measure import Protocol, accuracy, measure

# Variants are selected on the first and reported on the second.
SPLITS = ("validation", "test")
# Enough to rank a variant while the build runs; at the end all are measured in turns.
FIRST_LOOK = Protocol(min_repeats=10, min_seconds=0.05, max_seconds=0.5, warmup_seconds=0.1)


@dataclass(frozen=True)
class Judge:
    """Images and labels as a runtime sees them, and how latency is asked for.

    Attributes:
        splits: Split -> images `(n, channels, height, width)`, float32, normalised, and labels `(n,)`, int64.
        batch_sizes: Inputs per call at which latency is measured.
        threads: Of the runtime.
    """

    splits: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]]
    batch_sizes: tuple[int, ...]
    threads: int = 1

    @staticmethod
    def of(data: DataSet, ref: ModelRef, batch_sizes: tuple[int, ...]) -> "Judge":
        """The judge for a model's variants."""
        splits = {which: data.split(which) for which in SPLITS}
        scaled = {which: (normalise(s.images, ref.mean, ref.std), s.labels) for which, s in splits.items()}
        return Judge(scaled, batch_sizes)

    def accuracy(self, path: Path) -> dict[str, float]:
        """Split -> top-1 accuracy of an ONNX file, 0..1."""
        session = open_onnx(path, self.threads)
        return {which: accuracy(session, images, labels) for which, (images, labels) in self.splits.items()}

    def figures(self, path: Path) -> tuple[Measurement, ...]:
        """Size, memory and a first look at the latency of an ONNX file."""
        return measure(path, self.batch_sizes, self.threads, FIRST_LOOK)
