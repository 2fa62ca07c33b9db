# SPDX-License-Identifier: Apache-2.0
"""The variants of a portfolio."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, option, row


@dataclass(frozen=True)
class Variants(Space):
    """One choice: which variant.

    Attributes:
        ids: Of the variants.
        names: Their labels, in the same order.
    """

    card: ClassVar[Card] = Card(
        name="variants",
        says="The variants of a portfolio.",
        paper="house rule",
    )

    ids: tuple[str, ...] = ("0000000000000000",)
    names: tuple[str, ...] = ("level-0",)

    def __post_init__(self) -> None:
        if not self.ids or len(set(self.ids)) != len(self.ids) or len(self.ids) != len(self.names):
            raise BadValue("variant ids", self.ids, "distinct, at least one, each with a name")

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return (len(self.ids),)

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: id and name."""
        return {"variant": self.ids[int(design[0])], "name": self.names[int(design[0])]}

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`; the id decides."""
        return row([option("variant", described.get("variant"), self.ids)])
