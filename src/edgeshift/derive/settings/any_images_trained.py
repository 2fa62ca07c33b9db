# SPDX-License-Identifier: Apache-2.0
"""Settings to go on from trained weights, for a data set that has none of its own."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class AnyImagesTrained:
    """Level 0 is the weights as they came; later ones train few epochs at a low rate.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="any_images_trained",
        says="Any data set, from trained weights: 5 epochs a level at a low rate.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    levels: tuple[float, ...] = (1.0, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.0625)
    epochs: int = 5
    first_epochs: int = 0
    batch_size: int = 64
    lr: float = 0.02
    weight_decay: float = 1e-4
    warmup_epochs: float = 0.0
