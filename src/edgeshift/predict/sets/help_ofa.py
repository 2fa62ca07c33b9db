# SPDX-License-Identifier: Apache-2.0
"""5,000 once-for-all MobileNetV3 networks on 12 GPU settings."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict.chips import families, groups, profile
from edgeshift.predict.encodings import ofa_features
from edgeshift.predict.samples import Samples
from edgeshift.predict.sets.shape import Fleet, LatencySet, file_of


@dataclass(frozen=True)
class HelpOfa(LatencySet):
    """Accuracies are the once-for-all predictor's, not measured; no network was measured twice.

    Attributes:
        path: Folder with the file; below EDGESHIFT_DATA if empty.
    """

    card: ClassVar[Card] = Card(
        name="help_ofa",
        says="5,000 once-for-all MobileNetV3 networks on 4 GPUs at 3 batch sizes.",
        paper="Lee et al., NeurIPS 2021 (HELP); Cai et al., ICLR 2020 (once-for-all)",
        link="https://arxiv.org/abs/2106.08630",
    )

    path: str = ""

    def open(self) -> Fleet:
        """See `LatencySet.open`."""
        with np.load(file_of(self.path, "help_ofa", "ofa_latency.npz")) as file:
            cost, names, accuracy = file["latency_ms"], file["devices"], file["pred_top1"]
            labels, features = ofa_features(file["ks"], file["e"], file["d"], file["r"])
        devices = tuple(str(name) for name in names)
        samples = Samples(
            features=features,
            cost=cost.astype(np.float64),
            devices=devices,
            feature_names=labels,
            profiles={d: found for d in devices if (found := profile(d))},
            accuracy=accuracy.astype(np.float64),
            families=families(devices),
        ).check()
        return Fleet(samples, {}, (), groups(devices), tuple(range(len(cost))))
