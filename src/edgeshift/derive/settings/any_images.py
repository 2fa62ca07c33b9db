# SPDX-License-Identifier: Apache-2.0
"""Settings for a data set that has none of its own."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class AnyImages:
    """Thirty epochs a level, weights halved per level.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="any_images",
        says="Any other data set: 30 epochs a level, weights halved per level.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    levels: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125)
    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
