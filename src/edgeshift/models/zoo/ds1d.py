# SPDX-License-Identifier: Apache-2.0
"""The streaming wake word detector of the MLPerf Tiny benchmark."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalAverage, image_shape, kaiming_

# Keras' batch norm adds this to the variance.
EPSILON = 1e-3


@dataclass(frozen=True)
class Ds1d:
    """Depthwise convolutions along time, each followed by a 1x1 one, batch norm and ReLU; no padding.

    Inputs are `(bands, frames, 1)`. Layers are called as Keras called them.

    Attributes:
        kernels: Frames each depthwise convolution spans.
        widths: Output channels of each 1x1 convolution.
    """

    card: ClassVar[Card] = Card(
        name="ds1d",
        says="The streaming wake word detector of MLPerf Tiny: depthwise along time, 47 k parameters.",
        paper="Banbury et al., NeurIPS Datasets and Benchmarks 2021",
        link="https://arxiv.org/abs/2106.07597",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "ds1d": {"kernels": [3, 5, 10, 15], "widths": [128, 128, 128, 32]},
    }

    kernels: Sequence[int] = (3, 5, 10, 15)
    widths: Sequence[int] = (128, 128, 128, 32)

    def __post_init__(self) -> None:
        if not self.kernels or min(self.kernels) < 1:
            raise BadValue("kernels", self.kernels, "positive numbers")
        if len(self.widths) != len(self.kernels) or min(self.widths) < 1:
            raise BadValue(
                "widths", self.widths, f"{len(self.kernels)} positive numbers, one for each kernel"
            )

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`; the kernels must fit into the frames."""
        before, frames, _ = image_shape(input_shape)
        shortest = sum(self.kernels) - len(self.kernels) + 1
        if frames < shortest:
            raise BadValue("input_shape", input_shape, f"(bands, frames, 1) with at least {shortest} frames")
        net: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (kernel, after) in enumerate(zip(self.kernels, self.widths, strict=True)):
            end = f"_{i}" if i else ""
            net[f"depthwise_conv2d{end}"] = nn.Conv2d(before, before, (kernel, 1), groups=before, bias=False)
            net[f"conv2d{end}"] = nn.Conv2d(before, after, 1, bias=False)
            net[f"batch_normalization{end}"] = nn.BatchNorm2d(after, EPSILON)
            net[f"relu{end}"] = nn.ReLU()
            before = after
        net["average"] = GlobalAverage()
        net["dense"] = nn.Linear(before, classes)
        return kaiming_(nn.Sequential(net))
