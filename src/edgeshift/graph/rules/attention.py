# SPDX-License-Identifier: Apache-2.0
"""Products of two tensors: matrix products and scaled dot-product attention, head by head and pair by pair."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Labels, Ties

# Between a projection and the attention, only these leave "scaled rows" meaning "scaled queries".
LINEAR_KINDS = ("permute", "reshape", "take", "expand")


def inner_cells(number: int, axis: int, ties: Ties) -> Array | None:
    """Atoms of a tensor's summed axis, of full rank, if only leading axes share them; else None."""
    labels = ties.labels[number]
    axis %= len(labels.axes)
    if labels.cells is not None:
        last_two = {len(labels.axes) - 1, len(labels.axes) - 2}
        spans = set(labels.box_axes())
        return labels.cells if axis in spans and not spans & (last_two - {axis}) else None
    vector = labels.axes[axis]
    if vector is None:
        return None
    return vector.reshape([-1 if d == axis else 1 for d in range(len(labels.axes))])


def tie_sum(a: int, a_axis: int, b: int, b_axis: int, ties: Ties) -> None:
    """Tie the axes that a product sums over; cells pair up head by head."""
    left, right = inner_cells(a, a_axis, ties), inner_cells(b, b_axis, ties)
    rank_a, rank_b = len(ties.labels[a].axes), len(ties.labels[b].axes)
    if left is None or right is None or rank_a != rank_b:
        for number, axis in ((a, a_axis), (b, b_axis)):
            labels = ties.labels[number]
            axis %= len(labels.axes)
            ties.pin(labels.axes[axis])
            if axis in labels.box_axes():
                ties.pin(labels.cells)
        return
    lead = rank_a - 2
    x = np.moveaxis(left, a_axis, -1).reshape(*left.shape[:lead], -1)
    y = np.moveaxis(right, b_axis, -1).reshape(*right.shape[:lead], -1)
    ties.union(x, y)


def tie_lead(numbers: list[int], rank: int, ties: Ties) -> list[Array | None]:
    """Tie the leading axes (batch, heads) of operands of equal rank; the vectors of the output."""
    axes: list[Array | None] = []
    for d in range(rank - 2):
        sizes = [ties.graph.shape(n)[d] for n in numbers]
        parts = [(n, d) for n, size in zip(numbers, sizes, strict=True) if size == max(sizes) and size > 1]
        if not any(ties.labels[n].axes[d] is not None for n, _ in parts):
            axes.append(None)
            continue
        for number, axis in parts:
            if ties.graph.values[number].param:
                ties.param_axis(number, axis)
        vectors = [ties.labels[n].axes[d] for n, _ in parts]
        if any(v is None for v in vectors):
            for vector in vectors:
                ties.pin(vector)
            axes.append(None)
            continue
        first = vectors[0]
        assert first is not None
        for other in vectors[1:]:
            assert other is not None
            ties.union(first, other)
        axes.append(first)
    return axes


def outer_labels(number: int, axis: int, lead: list[Array | None], out_axis: int, ties: Ties) -> Labels:
    """Labels of a product that takes its last channels from one operand's axis."""
    labels = ties.labels[number]
    rank = len(labels.axes)
    axes: list[Array | None] = [*lead, None, None]
    cells = None
    if labels.cells is not None and axis % rank in labels.box_axes():
        cells = labels.cells if axis % rank == out_axis % rank else np.swapaxes(labels.cells, axis, out_axis)
    else:
        axes[out_axis] = labels.axes[axis]
    return Labels(axes, cells)


def zero_along(array: Array, axis: int) -> Array:
    """Known to be zero all along one axis (which becomes size 1)."""
    return np.asarray((array == 0).all(axis, keepdims=True))


@dataclass(frozen=True)
class Attention:
    """Query/key pairs and value channels stay or go together; whole heads go when nothing of them is read.

    Kinds: "matmul" (a, b), "attention" (q, k, v, mask; `scaled` = divided by the square root of the head width).
    """

    card: ClassVar[Card] = Card(
        name="attention",
        says="Matrix products and attention: whole heads, query/key pairs, value/output pairs.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("matmul", "attention")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        numbers = [i for i in node.inputs if i is not None]
        ranks = {len(ties.graph.shape(n)) for n in numbers[: 3 if node.kind == "attention" else 2]}
        out = node.outputs[0]
        rank = len(ties.graph.shape(out))
        if ranks != {rank}:
            for number in numbers:
                ties.pin_value(number)
            return
        if node.kind == "matmul":
            a, b = numbers
            lead = tie_lead([a, b], rank, ties)
            tie_sum(a, rank - 1, b, rank - 2, ties)
            left = self._free(a, rank - 2, ties)
            right = self._free(b, rank - 1, ties)
            if left and right:  # two independent sets of channels in one tensor
                ties.pin_value(a)
                right = False
            if left:
                ties.labels[out] = outer_labels(a, rank - 2, lead, rank - 2, ties)
            elif right:
                ties.labels[out] = outer_labels(b, rank - 1, lead, rank - 1, ties)
            else:
                ties.labels[out] = Labels([*lead, None, None])
            return
        q, k, v = numbers[:3]
        if len(numbers) > 3:
            self._tie_mask(numbers[3], q, ties)
        lead = tie_lead([q, k, v], rank, ties)
        for number in (q, k, v):  # positions are no channels
            ties.pin(ties.labels[number].axes[rank - 2])
        tie_sum(q, rank - 1, k, rank - 1, ties)
        if node.attributes["scaled"] and self._projection(q, ties) is None:
            self._freeze_width(q, ties)
        ties.labels[out] = outer_labels(v, rank - 1, lead, rank - 1, ties)

    @staticmethod
    def _free(number: int, axis: int, ties: Ties) -> bool:
        labels = ties.labels[number]
        return labels.axes[axis] is not None or axis in labels.box_axes()

    @staticmethod
    def _tie_mask(mask: int, q: int, ties: Ties) -> None:
        """A mask per head keeps every head."""
        shape = ties.graph.shape(mask)
        rank = len(ties.graph.shape(q))
        for d in range(len(shape) - 2):
            own = d + rank - len(shape)
            if shape[d] > 1:
                ties.pin(ties.labels[mask].axes[d])
                ties.pin(ties.labels[q].axes[own])

    @staticmethod
    def _freeze_width(q: int, ties: Ties) -> None:
        """The head width is in the scale and nothing can make up for it: heads go whole or not at all."""
        cells = ties.labels[q].cells
        if cells is None:
            ties.pin_value(q)
            return
        spans = ties.labels[q].box_axes()
        slices = [ties.labels[q].axes[d] for d in spans[:-1]]
        box = ties.add_box(
            cells.reshape([cells.shape[d] for d in spans]), [s for s in slices if s is not None]
        )
        box.whole = True

    @staticmethod
    def _projection(q: int, ties: Ties) -> Node | None:
        """The linear layer whose rows are the queries, if only layout stands between."""
        makers = ties.graph.makers
        number: int | None = q
        while number is not None and number in makers:
            node = makers[number]
            if node.kind == "linear":
                w, bias = node.inputs[1], node.inputs[2]
                assert w is not None
                values = ties.graph.values
                single = ties.uses.get(w, 0) == 1 and (bias is None or ties.uses.get(bias, 0) == 1)
                named = all(values[n].param and not values[n].sealed for n in (w, bias) if n is not None)
                return node if single and named and int(node.attributes.get("w_out", 0)) == 0 else None
            if node.kind not in LINEAR_KINDS and node.attributes.get("fn") != "identity":
                return None
            number = node.inputs[0]
        return None

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`; shares of a constant are that constant."""
        out = node.outputs[0]
        facts.tainted[out] = any(facts.is_tainted(i) for i in node.inputs)
        if facts.tainted[out] or any(
            len(facts.graph.shape(i)) != len(facts.graph.shape(out)) for i in node.inputs[:2]
        ):
            return
        if node.kind == "attention":
            v = facts.constant(node.inputs[2])
            if v.shape[-2] == 1:
                facts.const[out] = v
            return
        a, b = (facts.constant(i) for i in node.inputs)
        if node.inputs[0] in facts.shares and b.shape[-2] == 1:
            facts.const[out] = b
            return
        # Known zero where every product in the sum has a known zero factor.
        inner = max(a.shape[-1], b.shape[-2])
        left = np.broadcast_to(a != 0, (*a.shape[:-1], inner)).astype(np.float32)
        right = np.broadcast_to(b != 0, (*b.shape[:-2], inner, b.shape[-1])).astype(np.float32)
        facts.const[out] = np.where((left @ right) > 0, np.nan, 0.0)

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`."""
        out = node.outputs[0]
        needed = facts.needed(out)
        if not needed.any():
            return
        numbers = [i for i in node.inputs if i is not None]
        if any(len(facts.graph.shape(i)) != needed.ndim for i in numbers[:2]):
            facts.read_whole(node)
            return
        if node.kind == "matmul":
            a, b = numbers
            zero_a, zero_b = zero_along(facts.constant(a), -2), zero_along(facts.constant(b), -1)
            if facts.is_tainted(a) or facts.is_tainted(b):
                zero_a, zero_b = np.zeros_like(zero_a), np.zeros_like(zero_b)
            facts.add_read(a, needed.any(-1, keepdims=True) & ~np.swapaxes(zero_b, -1, -2))
            facts.add_read(b, needed.any(-2, keepdims=True) & ~np.swapaxes(zero_a, -1, -2))
            return
        q, k, v = numbers[:3]
        per_head = needed.any((-1, -2), keepdims=True)
        zero_q, zero_k = zero_along(facts.constant(q), -2), zero_along(facts.constant(k), -2)
        if facts.is_tainted(q) or facts.is_tainted(k):
            zero_q, zero_k = np.zeros_like(zero_q), np.zeros_like(zero_k)
        facts.add_read(q, per_head & ~zero_k)
        facts.add_read(k, per_head & ~zero_q)
        facts.add_read(v, np.asarray(needed.any(-2, keepdims=True)))
        if len(numbers) > 3:
            facts.read_all_of(numbers[3])

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: a pair stays unless one of the two is known to be zero."""
        numbers = [i for i in node.inputs if i is not None]
        needed = facts.needed(node.outputs[0])
        if not needed.any() or any(len(facts.graph.shape(i)) != needed.ndim for i in numbers[:2]):
            return
        a, b = numbers[:2]
        rank = needed.ndim
        other = rank - 2 if node.kind == "matmul" else rank - 1
        zero_a = np.moveaxis(zero_along(facts.constant(a), rank - 2), rank - 1, -1)
        zero_b = zero_along(facts.constant(b), rank - 1 if node.kind == "matmul" else rank - 2)
        zero_b = np.swapaxes(zero_b, -1, -2) if node.kind == "matmul" else zero_b
        pair = needed.any((-1, -2), keepdims=True) & ~zero_a & ~zero_b
        for number, axis in ((a, rank - 1), (b, other)):
            cells = inner_cells(number, axis, demands.ties)
            if cells is not None:
                flat = np.moveaxis(cells, axis, -1)
                same = tuple(
                    d for d, n in enumerate(flat.shape) if n == 1
                )  # such as the batch: any of it needs all
                here = np.asarray(pair.any(same, keepdims=True))
                demands.keep(flat[np.broadcast_to(here, flat.shape)] if self._fits(here, flat) else flat)

    @staticmethod
    def _fits(pair: Array, cells: Array) -> bool:
        return all(p in (1, c) for p, c in zip(pair.shape, cells.shape, strict=True))

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: narrower heads divide by a smaller root, so their queries shrink to match."""
        if node.kind != "attention" or not node.attributes["scaled"]:
            return
        q = node.inputs[0]
        assert q is not None
        before, after = facts.graph.shape(q)[-1], fate.size(q)[-1]
        if before == after:
            return
        projection = self._projection(q, fate.ties)
        assert projection is not None
        labels = fate.ties.labels[q]
        atoms = labels.cells if labels.cells is not None else labels.axes[-1]
        assert atoms is not None
        for number in projection.inputs[1:3]:
            if number is None:
                continue
            rows = fate.ties.labels[number].axes[0]
            source = fate.ties.labels[projection.inputs[1] or 0].axes[0]
            assert rows is not None and source is not None
            factor = edits.rows.setdefault(number, np.ones(len(rows)))
            factor[np.isin(source, atoms)] *= math.sqrt(after / before)

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`."""
        numbers = [i for i in node.inputs if i is not None]
        out = math.prod(fate.size(node.outputs[0]))
        if node.kind == "matmul":
            return out * fate.size(numbers[0])[-1]
        q, k = fate.size(numbers[0]), fate.size(numbers[1])
        return math.prod(q) * k[-2] + out * k[-2]
