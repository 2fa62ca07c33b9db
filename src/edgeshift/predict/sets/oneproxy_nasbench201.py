# SPDX-License-Identifier: Apache-2.0
"""1,999 NAS-Bench-201 cells on 18 devices."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict.encodings import canonical, cell_features
from edgeshift.predict.samples import Samples
from edgeshift.predict.sets.shape import Fleet, LatencySet, file_of

COMPOSED = ("rice_eyeriss", "rice_fpga")
# One chip, or one converter and test bench, under several names.
FAMILIES = {
    "eagle_cpu_855": "snapdragon_855",
    "eagle_dsp_855": "snapdragon_855",
    "eagle_gpu_855": "snapdragon_855",
    "true_640": "snapdragon_855",
    "true_a76": "snapdragon_855",
    "eagle_jetson": "jetson_nano",
    "eagle_jetson_16": "jetson_nano",
    "eagle_tpu": "edge_tpu",
    "rice_edgetpu": "edge_tpu",
    "eagle_gtx": "eagle_desktop",  # the two columns rank alike: not two independent devices
    "eagle_i7": "eagle_desktop",
}


@dataclass(frozen=True)
class OneproxyNasbench201(LatencySet):
    """Unsupported networks (-1 on the Edge TPU) are not measured; dead cells are dropped.

    Attributes:
        path: Folder with the file; below EDGESHIFT_DATA if empty.
    """

    card: ClassVar[Card] = Card(
        name="oneproxy_nasbench201",
        says="1,999 NAS-Bench-201 cells on 18 phones, boards, accelerators and desktops.",
        paper="Lu et al., SIGMETRICS 2022 (OneProxy); Dudziak et al., NeurIPS 2020 (BRP-NAS)",
        link="https://arxiv.org/abs/2111.01203",
    )

    path: str = ""

    def open(self) -> Fleet:
        """See `LatencySet.open`."""
        with np.load(file_of(self.path, "oneproxy_nb201", "oneproxy_latency.npz")) as file:
            cost, cells = file["latency_ms"].astype(np.float64), file["ops"]
            names, index = file["devices"], file["nb201_idx"]
        devices = tuple(str(name) for name in names)
        alive = np.array([i for i, cell in enumerate(cells) if canonical(tuple(int(o) for o in cell))])
        labels, features = cell_features(cells[alive])
        samples = Samples(
            features=features,
            cost=np.where(cost > 0, cost, np.nan)[alive],
            devices=devices,
            feature_names=labels,
            families=FAMILIES,
        ).check()
        kinds = {d: "composed" if d in COMPOSED else "mobile and board" for d in devices}
        return Fleet(samples, {}, COMPOSED, kinds, tuple(int(i) for i in index[alive]))
