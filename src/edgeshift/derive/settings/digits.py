# SPDX-License-Identifier: Apache-2.0
"""Settings for 8x8 handwritten digits: seconds per level on two cores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class Digits:
    """1,797 grey images of 8x8; whole channels go at every level.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="digits",
        says="scikit-learn's digits: 8 levels of a few seconds each, whole channels go.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    method_options: Mapping[str, Any] = field(
        default_factory=lambda: {"pattern": "channel", "pattern_options": {"normalise": "group"}}
    )
    levels: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.14, 0.1)
    epochs: int = 6
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    bf16: str = "off"
    # Images this small gain nothing from a second thread.
    threads: int = 1
