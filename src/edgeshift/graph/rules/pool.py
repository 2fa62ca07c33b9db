# SPDX-License-Identifier: Apache-2.0
"""Operators over space and reductions: pooling, resizing, means and sums, softmax."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node, widen
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Labels, Ties


@dataclass(frozen=True)
class Pool:
    """Each channel by itself over space, or a sum over some axes.

    Kinds and attributes: "pool" (`rank` spatial axes, `keeps` = "any" constant or only "zero"), "reduce" (`axes`,
    `keepdim`, `fn` = "mean", "sum", "max", "min" or "other"), "softmax" (`axis`, `sums` = whether it sums to one).
    """

    card: ClassVar[Card] = Card(
        name="pool",
        says="Pooling, resizing, means, sums and softmax: per channel over space, careful over channels.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("pool", "reduce", "softmax")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        labels = ties.labels[x]
        rank = len(ties.graph.shape(x))
        if node.kind == "pool":
            axes = list(labels.axes)
            for d in range(rank - int(node.attributes["rank"]), rank):
                ties.pin(axes[d])
                if d in labels.box_axes():
                    ties.pin_value(x)
                axes[d] = None
            ties.labels[out] = Labels(axes, labels.cells)
        elif node.kind == "reduce":
            gone = [int(a) for a in node.attributes["axes"]]
            if set(gone) & set(labels.box_axes()):
                ties.pin_value(x)
                ties.labels[out] = Labels([None] * len(ties.graph.shape(out)))
                return
            axes = [None if d in gone else v for d, v in enumerate(labels.axes)]
            cells = labels.cells
            if not node.attributes["keepdim"]:
                axes = [v for d, v in enumerate(axes) if d not in gone]
                cells = None if cells is None else cells.squeeze(tuple(gone))
            ties.labels[out] = Labels(axes, cells)
        else:
            ties.labels[out] = Labels(list(labels.axes), labels.cells)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        facts.tainted[out] = facts.is_tainted(x)
        known = facts.constant(x)
        if node.kind == "pool":
            lead = known.ndim - int(node.attributes["rank"])
            space = tuple(range(lead, known.ndim))
            low, high = known.min(space, keepdims=True), known.max(space, keepdims=True)
            same = np.where(low == high, low, np.nan)
            facts.const[out] = (
                same if node.attributes["keeps"] == "any" else np.where(same == 0, same, np.nan)
            )
        elif node.kind == "reduce" and node.attributes["fn"] in ("mean", "sum", "max", "min"):
            facts.const[out] = self._reduce(node, known, facts.graph.shape(x))
        elif node.kind == "softmax" and node.attributes["sums"]:
            axis = int(node.attributes["axis"])
            if axis == known.ndim - 1:
                facts.shares.add(out)
            if not np.isnan(known).any():  # shares of constants
                wide = widen(known, [axis], facts.graph.shape(x))
                powers = np.exp(wide - wide.max(axis, keepdims=True))
                facts.const[out] = powers / powers.sum(axis, keepdims=True)

    @staticmethod
    def _reduce(node: Node, known: Array, shape: tuple[int, ...]) -> Array:
        gone = tuple(int(a) for a in node.attributes["axes"])
        name = node.attributes["fn"]
        repeats = 1
        for d in gone:
            repeats *= shape[d] if known.shape[d] == 1 else 1
        result = np.asarray(getattr(np, name)(known, axis=gone, keepdims=bool(node.attributes["keepdim"])))
        return result * repeats if name == "sum" else result

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        needed = facts.needed(out)
        if not np.count_nonzero(needed):
            return
        if node.kind == "reduce" and not node.attributes["keepdim"]:
            needed = np.expand_dims(needed, tuple(int(a) for a in node.attributes["axes"]))
        if node.kind == "softmax":
            needed = np.asarray(needed.any(int(node.attributes["axis"]), keepdims=True))
        if node.kind == "pool":
            lead = needed.ndim - int(node.attributes["rank"])
            needed = np.asarray(needed.any(tuple(range(lead, needed.ndim)), keepdims=True))
        facts.add_read(x, needed)

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: over channels only a sum can miss what is zero."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        known = not np.isnan(facts.const[out]).all()  # whoever folds or keeps it counts on the numbers
        if node.kind == "pool" or not (known or facts.needed(out).any()):
            return
        axes = (
            [int(node.attributes["axis"])]
            if node.kind == "softmax"
            else [int(a) for a in node.attributes["axes"]]
        )
        for axis in axes:
            stays = np.ones(facts.graph.shape(x)[axis], np.bool_)
            if node.kind == "reduce" and node.attributes["fn"] == "sum":
                stays = facts.channel(x, axis) != 0
            demands.keep_axis(x, axis, stays)

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: nothing to change."""

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: not counted."""
        return 0
