# SPDX-License-Identifier: Apache-2.0
"""Settings for 28x28 grey images of clothes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class FashionMnist:
    """Twenty epochs a level; whole channels go at every level.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="fashion_mnist",
        says="Fashion-MNIST from scratch: 20 epochs a level, whole channels go.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    method_options: Mapping[str, Any] = field(
        default_factory=lambda: {"pattern": "channel", "pattern_options": {"normalise": "group"}}
    )
    levels: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
