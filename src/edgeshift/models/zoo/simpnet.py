# SPDX-License-Identifier: Apache-2.0
"""A plain stack of thin convolutions."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.models.layers import GlobalMax, image_shape, kaiming_

LAYERS = 13
POOLED = (5, 10)


@dataclass(frozen=True)
class Simpnet:
    """13 convolutions 3x3 with bias, batch norm and ReLU, halved after the 5th and the 10th, global maximum.

    Attributes:
        widths: Output channels of the 13 convolutions.
    """

    card: ClassVar[Card] = Card(
        name="simpnet",
        says="13 thin convolutions and a global maximum, 0.3 to 1 M parameters.",
        paper="Hasanpour et al., 2018",
        link="https://arxiv.org/abs/1802.06205",
        needs="nothing",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "simpnet_300k": {"widths": [30, 40, 40, 40, 50, 50, 50, 50, 50, 58, 58, 70, 90]},
        "simpnet_600k": {"widths": [40, 60, 60, 60, 72, 73, 73, 73, 75, 81, 82, 90, 120]},
        "simpnet_1m": {"widths": [60, 80, 80, 80, 85, 85, 90, 90, 90, 110, 110, 127, 150]},
    }

    widths: Sequence[int] = (30, 40, 40, 40, 50, 50, 50, 50, 50, 58, 58, 70, 90)

    def __post_init__(self) -> None:
        if len(self.widths) != LAYERS or min(self.widths) < 1:
            raise BadValue("widths", self.widths, f"{LAYERS} positive numbers")

    def build(self, classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """See `Architecture.build`."""
        before, _, _ = image_shape(input_shape, smallest=2 ** len(POOLED))
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, channels in enumerate(self.widths, 1):
            layers[f"conv{i}"] = nn.Conv2d(before, channels, 3, 1, 1)
            layers[f"bn{i}"] = nn.BatchNorm2d(channels)
            layers[f"relu{i}"] = nn.ReLU()
            if i in POOLED:
                layers[f"pool{i}"] = nn.MaxPool2d(2)
            before = channels
        layers["maximum"] = GlobalMax()
        layers["fc"] = nn.Linear(before, classes)
        return kaiming_(nn.Sequential(layers))
