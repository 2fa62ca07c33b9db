# SPDX-License-Identifier: Apache-2.0
"""The contract of a rule: what one family of operators does to channels."""

from typing import ClassVar, Protocol

from edgeshift.core.card import Card
from edgeshift.graph.channels import Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Ties

NOUN = "rule"


class Rule(Protocol):
    """One family of operators.

    The four questions are asked in this order over the whole graph: `tie` and `constants` forwards, `reads`
    backwards, `demand` in any order; `edit` after it is decided who stays. A rule that does not know an answer
    leaves the default, which always keeps the channel: unknown constant, everything read, size pinned.
    """

    card: ClassVar[Card]
    kinds: ClassVar[tuple[str, ...]]

    def tie(self, node: Node, ties: Ties) -> None:
        """Say which channels of inputs, parameters and outputs are one, by filling `ties.labels` of the outputs."""

    def constants(self, node: Node, facts: Facts) -> None:
        """Fill `facts.const` of the outputs."""

    def reads(self, node: Node, facts: Facts) -> None:
        """Add to `facts.read` of the inputs what the needed outputs depend on."""

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """Keep constant channels that this reader cannot do without."""

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """Say how the reader's own numbers or attributes change for the channels that went."""

    def macs(self, node: Node, fate: Fate) -> int:
        """Multiply-accumulates for the traced batch after the cut."""
