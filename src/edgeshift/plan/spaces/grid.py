# SPDX-License-Identifier: Apache-2.0
"""Quantities in equal steps, such as widths or densities, with a bound on their sum if need be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, row


@dataclass(frozen=True)
class Grid(Space):
    """`cells` numbers between 0 and 1 in `steps` equal steps.

    Attributes:
        cells: How many numbers.
        steps: Steps between 0 and 1; a number has `steps + 1` options.
        mean: What their mean must be, 0..1, to the nearest step of the sum; None leaves it free.
    """

    card: ClassVar[Card] = Card(
        name="grid",
        says="Numbers between 0 and 1 in equal steps, their mean fixed if need be.",
        paper="house rule",
    )

    cells: int = 3
    steps: int = 4
    mean: float | None = None

    def __post_init__(self) -> None:
        if self.cells < 1 or self.steps < 1:
            raise BadValue("cells and steps", (self.cells, self.steps), "from 1")
        if self.mean is not None and not 0 <= self.mean <= 1:
            raise BadValue("mean", self.mean, "0..1, or None")

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return (self.steps + 1,) * self.cells

    @property
    def ordered(self) -> bool:
        """See `Space.ordered`."""
        return True

    def settle(self, designs: Designs) -> Designs:
        """See `Space.settle`: all numbers move by the same amount, as far as 0 and 1 let them."""
        if self.mean is None:
            return designs
        total = round(self.mean * self.cells * self.steps)
        wrong = designs.sum(1) != total
        if not wrong.any():
            return designs
        settled = designs.copy()
        settled[wrong] = self._shifted(designs[wrong], total)
        return settled

    def _shifted(self, designs: Designs, total: int) -> Designs:
        low = np.full(len(designs), -self.steps, np.int64)
        high = np.full(len(designs), self.steps, np.int64)
        while (high - low > 1).any():  # the largest shift whose sum does not pass the total
            middle = (low + high) // 2
            under = np.clip(designs + middle[:, None], 0, self.steps).sum(1) <= total
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        shifted = np.clip(designs + low[:, None], 0, self.steps)
        # What is left is fewer units than there are numbers that may still rise; the first ones take them.
        room = np.clip(designs + low[:, None] + 1, 0, self.steps) > shifted
        missing = (total - shifted.sum(1))[:, None]
        return np.asarray(shifted + (room & (np.cumsum(room, 1) <= missing)), np.int64)

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: the numbers, 0..1."""
        return {"values": [int(k) / self.steps for k in design]}

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`."""
        values = np.asarray(described.get("values", ()), float)
        steps = np.rint(values * self.steps)
        if values.shape != (self.cells,) or (abs(steps - values * self.steps) > 1e-9).any():
            raise BadValue("values", values.tolist(), f"{self.cells} numbers in steps of 1/{self.steps}")
        design = row([int(k) for k in steps])
        if not self.check(design[None])[0]:
            raise BadValue("values", values.tolist(), f"0..1 with the mean {self.mean}")
        return design
