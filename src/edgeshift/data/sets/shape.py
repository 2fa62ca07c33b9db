# SPDX-License-Identifier: Apache-2.0
"""What a data set must offer."""

from typing import ClassVar, Protocol

from edgeshift.core.card import Card
from edgeshift.data.split import DataSet

NOUN = "data set"


class Source(Protocol):
    """Where images come from; its fields all have defaults."""

    card: ClassVar[Card]

    def open(self) -> DataSet:
        """The data set; the same splits each time.

        Raises:
            BadData: If it is missing or cannot be used.
        """
