# SPDX-License-Identifier: Apache-2.0
"""Settings for a data set that has none of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class AnyImages:
    """Thirty epochs a level; whole channels go at every level.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="any_images",
        says="Any other data set: 30 epochs a level, whole channels go.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    method_options: Mapping[str, Any] = field(
        default_factory=lambda: {"pattern": "channel", "pattern_options": {"normalise": "group"}}
    )
    levels: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
