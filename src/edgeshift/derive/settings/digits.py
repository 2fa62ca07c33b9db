# SPDX-License-Identifier: Apache-2.0
"""Settings for 8x8 handwritten digits: seconds per level on two cores."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card


@dataclass(frozen=True)
class Digits:
    """1,797 grey images of 8x8; levels where channels go at every step.

    See `Settings`; the other fields are those of `edgeshift.train.Training`.
    """

    card: ClassVar[Card] = Card(
        name="digits",
        says="Eight levels on scikit-learn's digits in about a minute.",
        paper="house rule",
        needs="training",
    )

    method: str = "iterative_magnitude"
    levels: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125)
    epochs: int = 6
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    bf16: str = "off"
    # Images this small gain nothing from a second thread.
    threads: int = 1
