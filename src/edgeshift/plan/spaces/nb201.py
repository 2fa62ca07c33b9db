# SPDX-License-Identifier: Apache-2.0
"""NAS-Bench-201: a cell of six edges, five operations each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, option, row

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELL = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


@dataclass(frozen=True)
class Nb201(Space):
    """The edges (0->1), (0->2), (1->2), (0->3), (1->3), (2->3); 15,625 cells."""

    card: ClassVar[Card] = Card(
        name="nb201",
        says="NAS-Bench-201 cells: five operations on each of six edges.",
        paper="Dong & Yang, ICLR 2020",
        link="https://arxiv.org/abs/2001.00326",
    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return (len(OPERATIONS),) * 6

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: the cell in the benchmark's own spelling."""
        a, b, c, d, e, f = (OPERATIONS[int(k)] for k in design)
        return {"cell": f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"}

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`."""
        match = CELL.fullmatch(str(described.get("cell")))
        if match is None:
            raise BadValue(
                "cell", described.get("cell"), "such as |none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
            )
        return row([option("operation", name, OPERATIONS) for name in match.groups()])
