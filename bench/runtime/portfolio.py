# SPDX-License-Identifier: Apache-2.0
"""The ladder that policies are tried on: measured accuracies and latencies of the ResNet-20 portfolio."""

import json
import math

from bench.record import RECORDS
from edgeshift.runtime.simulate import P95
from edgeshift.runtime.state import Ladder, Profile

# Interquartile range of a normal distribution in standard deviations.
IQR = 1.349


def measured_ladder(slower: float = 1.0) -> tuple[Ladder, tuple[float, ...]]:
    """The ladder of the record `cifar_resnet20` and its accuracies on test.

    The record holds medians and interquartile ranges; the p95 is that of a log-normal distribution with them.

    Args:
        slower: Times slower than measured, all variants alike: the traces' rates ask for a slower device.
    """
    rows = json.loads((RECORDS / "cifar_resnet20" / "rows.json").read_text(encoding="utf-8"))
    profiles = []
    for number, row in enumerate(rows):
        latency_ms = row["latency_ms"] * slower
        p95_ms = latency_ms * math.exp(P95 * row["latency_spread"] / IQR)
        profiles.append(Profile(f"{number:016x}", row["variant"], row["validation"], latency_ms, p95_ms))
    ladder = Ladder.of(tuple(profiles))
    test = {row["variant"]: row["test"] for row in rows}
    return ladder, tuple(test[p.name] for p in ladder.profiles)
