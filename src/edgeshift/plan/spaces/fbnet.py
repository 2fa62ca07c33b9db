# SPDX-License-Identifier: Apache-2.0
"""FBNet: a kind of block for each of 22 places."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, option, row

BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
PLACES = 22


@dataclass(frozen=True)
class Fbnet(Space):
    """22 blocks, each with a kernel, an expansion and groups, or skipped; 9^22 networks."""

    card: ClassVar[Card] = Card(
        name="fbnet",
        says="FBNet: nine kinds of block at each of 22 places.",
        paper="Wu et al., CVPR 2019",
        link="https://arxiv.org/abs/1812.03443",
    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return (len(BLOCKS),) * PLACES

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: 22 names of blocks."""
        return {"blocks": [BLOCKS[int(k)] for k in design]}

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`."""
        blocks = described.get("blocks", ())
        if len(blocks) != PLACES:
            raise BadValue("blocks", blocks, f"{PLACES} names")
        return row([option("block", name, BLOCKS) for name in blocks])
