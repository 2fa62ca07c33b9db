# SPDX-License-Identifier: Apache-2.0
"""Operators nobody wrote a rule for: they keep all channels and are named in the report."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.graph.channels import Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Ties


@dataclass(frozen=True)
class Opaque:
    """Reads everything, knows nothing, changes no size."""

    card: ClassVar[Card] = Card(
        name="opaque",
        says="Any operator without a rule: its channels stay, and the report names it.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("opaque",)

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`: every size is pinned."""
        for number in node.inputs:
            ties.pin_value(number)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`: nothing is known but whether NaN or infinity may come out."""
        spoilt = facts.ranges.bursts(node) or any(facts.is_tainted(i) for i in node.inputs)
        for number in node.outputs:
            facts.tainted[number] = spoilt

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`: everything is read."""
        facts.read_whole(node)

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: names the operator where it held channels."""
        labels = [demands.ties.labels[i] for i in node.inputs if i is not None]
        if any(x.cells is not None or any(v is not None for v in x.axes) for x in labels):
            demands.named[node.source] = demands.named.get(node.source, 0) + 1

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: nothing to change."""

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: not counted."""
        return 0
