# SPDX-License-Identifier: Apache-2.0
"""Embeddings, and blocks of channels turned into space and back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node, along
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Labels, Ties


@dataclass(frozen=True)
class Lookup:
    """Kinds: "embedding" (weight, index), "pixel_shuffle" and "pixel_unshuffle" (`factor`), "windows" over space.

    "windows" makes `block` channels of each, one for every position in the window, and lays space out in one axis;
    `padded` = zeros stand around.
    """

    card: ClassVar[Card] = Card(
        name="lookup",
        says="Embedding columns, pixel shuffle in blocks of channels, and windows laid side by side.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("embedding", "pixel_shuffle", "pixel_unshuffle", "windows")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        axes: list[Array | None] = [None] * len(ties.graph.shape(out))
        if node.kind == "embedding":
            axes[-1] = ties.weight_axis(x, 1)
            ties.labels[out] = Labels(axes)
            return
        block, axis = self._block(node), self._axis(node, len(axes))
        vector = ties.axis(x, axis)
        for d, other in enumerate(ties.labels[x].axes):
            if d != axis or vector is None:
                ties.pin(other)
        if vector is None:
            if axis in ties.labels[x].box_axes():
                ties.pin(ties.labels[x].cells)
        elif node.kind == "pixel_shuffle":
            cells = vector.reshape(-1, block)
            ties.union(cells, cells[:, :1])
            axes[axis] = cells[:, 0]
        else:
            axes[axis] = np.repeat(vector, block)
        ties.labels[out] = Labels(axes)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        facts.tainted[out] = facts.is_tainted(x)
        rank = len(facts.graph.shape(out))
        if node.kind == "embedding":
            table = facts.constant(x)
            known = along(table, 1, table.shape[1])
            facts.const[out] = known.reshape([1] * (rank - 1) + [-1])
            return
        block, axis = self._block(node), self._axis(node, rank)
        known = facts.channel(x, axis)
        if node.kind == "pixel_shuffle":
            cells = known.reshape(-1, block)
            known = np.where((cells == cells[:, :1]).all(1), cells[:, 0], np.nan)
        else:
            known = np.repeat(known, block)
        if node.kind == "windows" and node.attributes["padded"]:
            known = np.where(known == 0, known, np.nan)
        facts.const[out] = known.reshape([-1 if d == axis else 1 for d in range(rank)])

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        rank = len(facts.graph.shape(out))
        if not facts.needed(out).any():
            return
        if node.kind == "embedding":
            facts.read_whole(node)
            return
        block, axis = self._block(node), self._axis(node, rank)
        needed = facts.needed_channels(out, axis)
        back = np.repeat(needed, block) if node.kind == "pixel_shuffle" else needed.reshape(-1, block).any(1)
        inner = len(facts.graph.shape(x))
        facts.add_read(x, np.asarray(back).reshape([-1 if d == axis else 1 for d in range(inner)]))

    @staticmethod
    def _block(node: Node) -> int:
        """How many channels become one, or one many."""
        return (
            int(node.attributes["block"]) if node.kind == "windows" else int(node.attributes["factor"]) ** 2
        )

    @staticmethod
    def _axis(node: Node, rank: int) -> int:
        """The channel axis of both sides."""
        return 1 if node.kind == "windows" else rank - 3

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: channels only pass through."""

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: nothing to change."""

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: none."""
        return 0
