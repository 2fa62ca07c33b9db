# SPDX-License-Identifier: Apache-2.0
"""1,280 image networks of every kind on 20 settings of GPUs and desktop CPUs."""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.predict.samples import Samples
from edgeshift.predict.sets.shape import Fleet, LatencySet, file_of, read_columns

# Name in the file, name of the feature, and its unit: sums are kept as log(1 + x).
SUMS = (
    ("infer_gmacs", "log_macs", 1e9),
    ("infer_macts", "log_activations", 1e6),
    ("param_count", "log_parameters", 1e6),
)
CHIP = re.compile(r"(rtx\d+|\d{4}(?=-|$)|pro6000maxq|i\d+_\w+?)(?:-dynamo)?$")


@dataclass(frozen=True)
class Timm(LatencySet):
    """Milliseconds per image at each setting's own batch size; a network and its image size are one row.

    Only four numbers are known of a network (arithmetic, activations, parameters, image size), and batch sizes differ
    from network to network: this set shows how devices agree on networks of all kinds more than how well costs can
    be predicted.

    Attributes:
        path: Folder with the file; below EDGESHIFT_DATA if empty.
        least: Settings on which a network must have been measured.
    """

    card: ClassVar[Card] = Card(
        name="timm",
        says="1,280 image networks of every kind on 20 settings of GPUs and desktop CPUs.",
        paper="Wightman, pytorch-image-models",
        link="https://github.com/huggingface/pytorch-image-models",
    )

    path: str = ""
    least: int = 10

    def open(self) -> Fleet:
        """See `LatencySet.open`."""
        names = ["config", "model", "infer_samples_per_sec", "infer_img_size", *(name for name, _, _ in SUMS)]
        raw = read_columns(file_of(self.path, "timm_bench", "timm_infer_bench.parquet"), names)
        devices = tuple(sorted(set(raw["config"])))
        keys = list(zip(raw["model"], raw["infer_img_size"], strict=True))
        rows = {key: i for i, key in enumerate(sorted(set(keys)))}
        cost = np.full((len(rows), len(devices)), np.nan)
        features = np.full((len(rows), len(SUMS) + 1), np.nan)
        for at, key in enumerate(keys):
            rate = raw["infer_samples_per_sec"][at]
            if rate and rate > 0:
                cost[rows[key], devices.index(raw["config"][at])] = 1000 / rate
            values = [raw[name][at] for name, _, _ in SUMS]
            if all(value is not None and value == value for value in values):
                sums = [np.log1p(value * unit) for value, (_, _, unit) in zip(values, SUMS, strict=True)]
                features[rows[key]] = [*sums, np.log1p(key[1] ** 2)]
        kept = np.isfinite(features).all(1) & (np.isfinite(cost).sum(1) >= self.least)
        samples = Samples(
            features[kept],
            cost[kept],
            devices,
            (*(feature for _, feature, _ in SUMS), "log_pixels"),
            families={device: chip(device) for device in devices},
        ).check()
        groups = {d: "cpu" if "cpu" in d else "gpu" for d in devices}
        return Fleet(samples, {}, (), groups, tuple(np.flatnonzero(kept).tolist()))


def chip(device: str) -> str:
    """The chip in a setting's name: `amp-nchw-pt240-cu124-rtx4090-dynamo` runs on a 4090."""
    match = CHIP.search(device)
    return match[1].removeprefix("rtx") if match else device
