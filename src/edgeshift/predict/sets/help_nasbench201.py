# SPDX-License-Identifier: Apache-2.0
"""15,625 NAS-Bench-201 cells on 27 devices."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict.chips import families, groups, profile
from edgeshift.predict.encodings import canonical, cell_features, twin
from edgeshift.predict.samples import Samples
from edgeshift.predict.scores import ceiling
from edgeshift.predict.sets.shape import Fleet, LatencySet, file_of, read_columns

# Exactly linear in the one-hot code: composed from tables, not run.
COMPOSED = ("eyeriss", "fpga")


@dataclass(frozen=True)
class HelpNasbench201(LatencySet):
    """Dead cells are dropped; repeats are pairs of cells that differ in the names of their nodes only.

    Attributes:
        path: Folder with the two files; below EDGESHIFT_DATA if empty.
        accuracy: Column of accuracies to read, such as "cifar100_test_200ep"; empty = none.
    """

    card: ClassVar[Card] = Card(
        name="help_nasbench201",
        says="15,625 NAS-Bench-201 cells on 27 GPUs, Xeons, phones and boards.",
        paper="Lee et al., NeurIPS 2021 (HELP); Li et al., ICLR 2021 (HW-NAS-Bench)",
        link="https://arxiv.org/abs/2106.08630",
    )

    path: str = ""
    accuracy: str = ""

    def open(self) -> Fleet:
        """See `LatencySet.open`."""
        with np.load(file_of(self.path, "help_nasbench201", "nb201_latency.npz")) as file:
            cost, cells, names = file["latency_ms"], file["ops"], file["devices"]
        devices = tuple(str(name) for name in names)
        known = [tuple(int(o) for o in cell) for cell in cells]
        alive = np.array([i for i, cell in enumerate(known) if canonical(cell)])
        labels, features = cell_features(cells[alive])
        samples = Samples(
            features=features,
            cost=cost[alive].astype(np.float64),
            devices=devices,
            feature_names=labels,
            profiles={d: found for d in devices if (found := profile(d))},
            accuracy=self._accuracy()[alive] if self.accuracy else None,
            families=families(devices),
        ).check()
        where = {known[i]: at for at, i in enumerate(alive)}
        pairs = [
            (at, where[other])
            for cell, at in where.items()
            if (other := twin(cell)) is not None and other > cell and other in where
        ]
        ceilings = {d: ceiling(samples.column(d), pairs) for d in devices}
        noisy = {d: found.repeat_mape for d, found in ceilings.items()}
        return Fleet(
            samples, ceilings, COMPOSED, groups(devices, noisy), tuple(int(i) for i in alive), tuple(pairs)
        )

    def _accuracy(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        file = file_of(self.path, "help_nasbench201", "nb201_archs_accuracy.parquet")
        found = read_columns(file, ["arch_idx", self.accuracy])
        values = np.full(len(found["arch_idx"]), np.nan)
        values[np.array(found["arch_idx"])] = found[self.accuracy]
        return values
