# SPDX-License-Identifier: Apache-2.0
"""Settings for 28x28 grey images of clothes."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class FashionMnist:
    """Twenty epochs a level, weights halved per level.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="fashion_mnist",
        says="Fashion-MNIST from scratch: 20 epochs a level, weights halved per level.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    levels: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125)
    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
