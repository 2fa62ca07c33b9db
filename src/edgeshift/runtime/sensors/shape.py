# SPDX-License-Identifier: Apache-2.0
"""The contract of a sensor."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from edgeshift.core.card import Card

NOUN = "sensor"


class Sensor(ABC):
    """Reads one quantity of the device from files below a root, so that a tree of fixtures can stand in.

    Attributes:
        unit: Of the value, such as "share of full clock", "degrees Celsius", "percent".
    """

    card: ClassVar[Card]
    unit: ClassVar[str]

    @abstractmethod
    def read(self, root: Path = Path("/")) -> float | None:
        """The value now, finite and plausible; None where there is no such sensor or it can not be trusted.

        Never raises for what the files hold: missing, empty, garbage, negative or unreadable is None.

        Args:
            root: Where `/sys` and `/proc` are.
        """
