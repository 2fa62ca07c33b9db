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
    """Kinds: "embedding" (weight, index), "pixel_shuffle" and "pixel_unshuffle" (`factor`)."""

    card: ClassVar[Card] = Card(
        name="lookup",
        says="Embedding columns, and pixel shuffle in blocks of factor squared channels.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("embedding", "pixel_shuffle", "pixel_unshuffle")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        axes: list[Array | None] = [None] * len(ties.graph.shape(out))
        if node.kind == "embedding":
            axes[-1] = ties.weight_axis(x, 1)
            ties.labels[out] = Labels(axes)
            return
        block = int(node.attributes["factor"]) ** 2
        axis = len(axes) - 3
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
        block = int(node.attributes["factor"]) ** 2
        known = facts.channel(x, rank - 3)
        if node.kind == "pixel_shuffle":
            cells = known.reshape(-1, block)
            known = np.where((cells == cells[:, :1]).all(1), cells[:, 0], np.nan)
        else:
            known = np.repeat(known, block)
        facts.const[out] = known.reshape([1] * (rank - 3) + [-1, 1, 1])

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
        block = int(node.attributes["factor"]) ** 2
        needed = facts.needed_channels(out, rank - 3)
        back = np.repeat(needed, block) if node.kind == "pixel_shuffle" else needed.reshape(-1, block).any(1)
        facts.add_read(x, np.asarray(back).reshape([1] * (rank - 3) + [-1, 1, 1]))

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: channels only pass through."""

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: nothing to change."""

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: none."""
        return 0
