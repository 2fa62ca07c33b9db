# SPDX-License-Identifier: Apache-2.0
"""Settings to train a CIFAR-10 network from scratch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class Cifar10:
    """The usual 160 epochs of the CIFAR ResNets, halving the weights per level.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="cifar10",
        says="CIFAR-10 from scratch, DNNShifter's way: 160 epochs a level, weights halved per level.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    method_options: Mapping[str, Any] = field(default_factory=dict)
    levels: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625)
    epochs: int = 160
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 1e-4
    warmup_epochs: float = 5.0
    augment: str = "crop_flip"
