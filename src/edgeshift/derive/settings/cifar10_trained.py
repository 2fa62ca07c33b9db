# SPDX-License-Identifier: Apache-2.0
"""Settings to go on from CIFAR-10 weights that are trained already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class Cifar10Trained:
    """Level 0 is the weights as they came; later ones train few epochs at a low rate.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="cifar10_trained",
        says="CIFAR-10 from trained weights: 5 epochs a level at a low rate, whole channels go.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    method_options: Mapping[str, Any] = field(
        default_factory=lambda: {
            "rewind": "none",
            "pattern": "channel",
            "pattern_options": {"normalise": "group"},
        }
    )
    levels: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
    epochs: int = 5
    first_epochs: int = 0
    batch_size: int = 128
    lr: float = 0.02
    weight_decay: float = 1e-4
    warmup_epochs: float = 0.0
    augment: str = "crop_flip"
