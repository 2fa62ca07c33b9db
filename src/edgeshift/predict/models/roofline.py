# SPDX-License-Identifier: Apache-2.0
"""Every kernel takes as long as its work or its bytes need, whichever is longer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.layers import AT, number_of, sum_of_layers
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.samples import Samples

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Roofline(Model):
    """`max(MACs / peak, bytes / bandwidth) + launch`, summed over the kernels of the fused graph.

    Peak, bandwidth and launch time come from the device's profile: measured by the probe, else the maker's. What
    was measured on the target only moves the sum by a factor, from 8 networks on along a line.

    Attributes:
        launch_us: Per kernel, where the profile does not say.
    """

    card: ClassVar[Card] = Card(
        name="roofline",
        says="Longer of work over peak and bytes over bandwidth, per kernel, from a profile.",
        paper="Williams et al., CACM 2009",
        link="https://doi.org/10.1145/1498765.1498785",
        needs="nothing",
    )

    launch_us: float = 1.0

    def __post_init__(self) -> None:
        if self.launch_us < 0:
            raise BadValue("launch_us", self.launch_us, "0 or more")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs graphs and a profile with `peak_gmacs` and `bandwidth_gbs`."""
        peak = number_of(samples, target, "probe_peak_gmacs", "peak_gmacs")
        bandwidth = number_of(samples, target, "probe_bandwidth_gbs", "bandwidth_gbs")
        if not peak or not bandwidth:
            raise BadValue(f"peak_gmacs and bandwidth_gbs of {target}", (peak, bandwidth), "in its profile")
        launch = number_of(samples, target, "probe_launch_us") or self.launch_us
        call = number_of(samples, target, "probe_call_us") / 1000
        return sum_of_layers(samples, target, rates(peak, bandwidth, launch), call, "roofline")


def rates(peak_gmacs: float, bandwidth_gbs: float, launch_us: float) -> Callable[[Array], Array]:
    """The time of each kernel in ms, from three numbers."""

    def layer_ms(rows: Array) -> Array:
        work = rows[:, AT["macs"]] / (peak_gmacs * 1e6)
        moved = (rows[:, AT["bytes_read"]] + rows[:, AT["bytes_written"]]) / (bandwidth_gbs * 1e6)
        return np.maximum(work, moved) + launch_us / 1000

    return layer_ms
