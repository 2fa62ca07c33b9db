# SPDX-License-Identifier: Apache-2.0
"""5,000 FBNet networks on 27 devices."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict.chips import families, groups, profile
from edgeshift.predict.encodings import fbnet_features
from edgeshift.predict.samples import Samples
from edgeshift.predict.sets.shape import Fleet, LatencySet, file_of

# Sums of per-block look-ups (HW-NAS-Bench's FBNet interface), not runs.
COMPOSED = ("eyeriss", "fpga", "pixel3", "raspi4")


@dataclass(frozen=True)
class HelpFbnet(LatencySet):
    """No network was measured twice, so there are no ceilings.

    Attributes:
        path: Folder with the file; below EDGESHIFT_DATA if empty.
    """

    card: ClassVar[Card] = Card(
        name="help_fbnet",
        says="5,000 FBNet networks (CIFAR-100) on 27 GPUs, Xeons, phones and boards.",
        paper="Lee et al., NeurIPS 2021 (HELP); Li et al., ICLR 2021 (HW-NAS-Bench)",
        link="https://arxiv.org/abs/2106.08630",
    )

    path: str = ""

    def open(self) -> Fleet:
        """See `LatencySet.open`."""
        with np.load(file_of(self.path, "help_fbnet", "fbnet_latency.npz")) as file:
            cost, blocks, names = file["latency_ms"], file["ops"], file["devices"]
        devices = tuple(str(name) for name in names)
        labels, features = fbnet_features(blocks)
        samples = Samples(
            features=features,
            cost=cost.astype(np.float64),
            devices=devices,
            feature_names=labels,
            profiles={d: found for d in devices if (found := profile(d))},
            families=families(devices),
        ).check()
        return Fleet(samples, {}, COMPOSED, groups(devices), tuple(range(len(cost))))
