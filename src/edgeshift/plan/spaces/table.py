# SPDX-License-Identifier: Apache-2.0
"""The rows of a table: designs that somebody listed, such as measured networks or a portfolio's variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, option, row


@dataclass(frozen=True)
class Table(Space):
    """One choice: which row.

    Attributes:
        rows: How many there are.
        names: What each row is called, or () to call it by its number.
    """

    card: ClassVar[Card] = Card(
        name="table",
        says="The rows of a table of designs.",
        paper="house rule",
    )

    rows: int = 2
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise BadValue("rows", self.rows, "at least 1")
        if self.names and len(set(self.names)) != self.rows:
            raise BadValue("names", len(set(self.names)), f"{self.rows} distinct ones, or none")

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return (self.rows,)

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: `{"row": 3}`, with its name where it has one."""
        place = int(design[0])
        return {"row": place, **({"name": self.names[place]} if self.names else {})}

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`."""
        if "name" in described and self.names:
            return row([option("name", described["name"], self.names)])
        place = described.get("row")
        if not isinstance(place, int) or not 0 <= place < self.rows:
            raise BadValue("row", place, f"0..{self.rows - 1}")
        return row([place])
