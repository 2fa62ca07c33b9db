# SPDX-License-Identifier: Apache-2.0
"""Operators that only move entries: transpose, reshape, slices, concatenation, padding, broadcasting."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node, fit_reads, reshape_array, same_along
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Labels, Ties


@dataclass(frozen=True)
class Layout:
    """Entries move, none changes.

    Kinds and their attributes: "permute" (`order`), "reshape" (none; shapes tell), "cat" (`axis`), "pad" (`before`,
    `after` per axis, `value`), "expand" (none), and "take" (`axis`, `index` = picked positions, `part` = (number,
    count) where the axis is cut into equal parts, `free` = whoever picks may be told other positions; a second
    input is the buffer that names them), and "pick" (`axis`; which positions only a run tells). Any may have `cuts`:
    axes of a parameter that may be cut.
    """

    card: ClassVar[Card] = Card(
        name="layout",
        says="Transpose, reshape, pick, repeat, concat, pad, expand: follows each channel to its place.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("permute", "reshape", "take", "pick", "cat", "pad", "expand")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        for d in node.attributes.get("cuts", ()):
            ties.param_axis(x, d)
        labels = ties.labels[x]
        old, new = ties.graph.shape(x), ties.graph.shape(out)
        if node.kind == "permute":
            order = tuple(int(d) for d in node.attributes["order"])
            if ties.graph.values[x].param:
                for d in range(len(old)):
                    ties.param_axis(x, d)
            ties.labels[out] = ties.permute(ties.labels[x], order)
        elif node.kind == "reshape":
            ties.labels[out] = ties.reshape(labels, old, new)
        elif node.kind == "take":
            ties.labels[out] = self._tie_take(node, ties)
        elif node.kind == "pick":
            axis = int(node.attributes["axis"])
            if axis in labels.box_axes():
                ties.pin_value(x)
                labels = Labels([None] * len(old))
            ties.pin(labels.axes[axis])
            ties.labels[out] = Labels(
                [None if d == axis else v for d, v in enumerate(labels.axes)], labels.cells
            )
        elif node.kind == "cat":
            ties.labels[out] = self._tie_cat(node, ties)
        elif node.kind == "pad":
            ties.labels[out] = self._tie_pad(node, ties)
        else:
            lead = len(new) - len(old)
            axes: list[Array | None] = [*([None] * lead), *labels.axes]
            cells = None if labels.cells is None else labels.cells.reshape((1,) * lead + labels.cells.shape)
            ties.labels[out] = Labels(axes, cells)

    def _tie_take(self, node: Node, ties: Ties) -> Labels:
        """Parts of equal size may shrink together; any other slice pins the axis it cuts."""
        x = node.inputs[0]
        assert x is not None
        axis, index = int(node.attributes["axis"]), np.asarray(node.attributes["index"], np.int64)
        labels = ties.labels[x]
        size = ties.graph.shape(x)[axis]
        tracked = labels.axes[axis] is not None or axis in labels.box_axes()
        if not tracked or np.array_equal(index, np.arange(size)):
            return Labels(list(labels.axes), labels.cells)
        part = node.attributes.get("part")
        vector = labels.axes[axis]
        table = node.inputs[1] if len(node.inputs) > 1 else None
        free = node.attributes.get("free") and (table is None or ties.uses[table] == 1)
        if labels.cells is None and vector is not None and free:
            return ties.take(labels, axis, index)
        if (
            labels.cells is None
            and vector is not None
            and part is not None
            and size % part[1] == 0
            and part[1] < size
        ):
            # The same number must stay in every part, and no part may vanish.
            slices = ties.fresh(part[1])
            ties.pin(slices)
            ties.add_box(vector.reshape(part[1], -1), [slices])
            return ties.take(labels, axis, index)
        if axis in labels.box_axes() and vector is not None:
            ties.pin(vector)  # picking one slice of a box: the others must stay where they are
            return ties.take(labels, axis, index)
        ties.pin_value(x)
        axes = list(labels.axes)
        axes[axis] = None
        return Labels(axes, None)

    def _tie_cat(self, node: Node, ties: Ties) -> Labels:
        """Channels stand side by side along the axis and are tied across the operands elsewhere."""
        axis = int(node.attributes["axis"])
        numbers = [i for i in node.inputs if i is not None]
        shape = ties.graph.shape(node.outputs[0])
        if any(ties.labels[i].cells is not None for i in numbers):
            for number in numbers:
                ties.pin_value(number)
            return Labels([None] * len(shape))
        axes: list[Array | None] = []
        for d in range(len(shape)):
            if d != axis:
                tracked = any(ties.labels[i].axes[d] is not None for i in numbers)
                for number in numbers:
                    if tracked and ties.graph.values[number].param:
                        ties.param_axis(number, d)
                axes.append(ties.tie_axes([(i, d) for i in numbers]) if tracked else None)
                continue
            vectors = [ties.labels[i].axes[d] for i in numbers]
            if all(v is None for v in vectors):
                axes.append(None)
                continue
            parts = []
            for number, vector in zip(numbers, vectors, strict=True):
                if vector is None:
                    vector = ties.fresh(ties.graph.shape(number)[d])
                    ties.pin(vector)
                parts.append(vector)
            axes.append(np.concatenate(parts))
        return Labels(axes)

    def _tie_pad(self, node: Node, ties: Ties) -> Labels:
        """Padded channels stay where their number is a literal; where it may be an attribute, they are tried."""
        x = node.inputs[0]
        assert x is not None
        before, after = node.attributes["before"], node.attributes["after"]
        labels = ties.labels[x]
        axes = list(labels.axes)
        for d, (low, high) in enumerate(zip(before, after, strict=True)):
            if low == high == 0:
                continue
            if d in labels.box_axes() or min(low, high) < 0:
                ties.pin_value(x)
                return Labels([None] * len(axes))
            vector = axes[d]
            if vector is not None:
                extra = ties.fresh(low + high)
                if d not in node.attributes.get("spelled", ()) or node.outputs[0] in ties.fixed:
                    ties.pin(extra)
                axes[d] = np.concatenate([extra[:low], vector, extra[low:]])
        return Labels(axes, labels.cells)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        facts.tainted[out] = any(facts.is_tainted(i) for i in node.inputs)
        if node.kind not in ("cat", "pad") and facts.blank([x]):
            return
        old, new = facts.graph.shape(x), facts.graph.shape(out)
        known = facts.constant(x)
        if node.kind == "permute":
            facts.const[out] = known.transpose([int(d) for d in node.attributes["order"]])
        elif node.kind == "reshape":
            facts.const[out] = reshape_array(known, old, new)
        elif node.kind == "take":
            axis = int(node.attributes["axis"])
            if known.shape[axis] > 1:
                known = np.take(known, np.asarray(node.attributes["index"], np.int64), axis)
            facts.const[out] = known
        elif node.kind == "pick":
            same = same_along(known, int(node.attributes["axis"]))
            facts.const[out] = (
                np.take(known, [0], int(node.attributes["axis"]))
                if same
                else np.full((1,) * len(new), np.nan)
            )
        elif node.kind == "cat":
            facts.const[out] = self._cat(
                [i for i in node.inputs if i is not None], int(node.attributes["axis"]), facts
            )
        elif node.kind == "pad":
            facts.const[out] = self._pad(node, known, old)
        else:
            facts.const[out] = known.reshape((1,) * (len(new) - len(old)) + known.shape)

    @staticmethod
    def _cat(numbers: list[int], axis: int, facts: Facts) -> Array:
        arrays = [facts.constant(i) for i in numbers]
        rank = arrays[0].ndim
        wide = [max(a.shape[d] for a in arrays) for d in range(rank)]
        parts = []
        for number, array in zip(numbers, arrays, strict=True):
            size = [facts.graph.shape(number)[d] if d == axis else wide[d] for d in range(rank)]
            parts.append(np.broadcast_to(array, size))
        return np.concatenate(parts, axis)

    @staticmethod
    def _pad(node: Node, known: Array, old: tuple[int, ...]) -> Array:
        """Along an axis with channels the pad value stands beside; along space a constant must equal it to stay one."""
        before, after, value = node.attributes["before"], node.attributes["after"], node.attributes["value"]
        for d, (low, high) in enumerate(zip(before, after, strict=True)):
            if low == high == 0:
                continue
            if value is None:  # reflect, replicate, circular: a constant stays one
                if known.shape[d] > 1:
                    known = np.full([1 if e == d else n for e, n in enumerate(known.shape)], np.nan)
            elif low < 0 or high < 0:
                if known.shape[d] > 1:
                    return np.full((1,) * known.ndim, np.nan)
            elif known.shape[d] > 1 or d == 1:
                wide = np.broadcast_to(known, [old[e] if e == d else n for e, n in enumerate(known.shape)])
                widths = [(low, high) if e == d else (0, 0) for e in range(known.ndim)]
                known = np.pad(wide, widths, constant_values=value)
            else:
                known = np.where(known == value, known, np.nan)
        return known

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`: the way back."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        needed = facts.needed(out)
        if not np.count_nonzero(needed):
            return
        old, new = facts.graph.shape(x), facts.graph.shape(out)
        if node.kind == "permute":
            order = [int(d) for d in node.attributes["order"]]
            facts.add_read(x, needed.transpose(np.argsort(order)))
        elif node.kind == "reshape":
            facts.add_read(x, reshape_array(needed, new, old))
        elif node.kind == "take":
            facts.read_all_of(node.inputs[1] if len(node.inputs) > 1 else None)
            axis, index = int(node.attributes["axis"]), np.asarray(node.attributes["index"], np.int64)
            if facts.const[x].shape[axis] == 1 and needed.shape[axis] == 1 and old[axis] > 4096:
                facts.add_read(x, needed)
                return
            size = [old[d] if d == axis else n for d, n in enumerate(needed.shape)]
            back = np.zeros(size, np.bool_)
            wide = np.broadcast_to(
                needed, [len(index) if d == axis else n for d, n in enumerate(needed.shape)]
            )
            # Moved to the front, the picked axis takes a plain index.
            front, source = np.moveaxis(back, axis, 0), np.moveaxis(wide, axis, 0)
            if len(set(node.attributes["index"])) == len(index):
                front[index] = source
            else:  # a position that is picked twice
                np.logical_or.at(front, index, source)
            facts.add_read(x, back)
        elif node.kind == "pick":
            facts.add_read(x, np.asarray(needed.any(int(node.attributes["axis"]), keepdims=True)))
            facts.read_all_of(node.inputs[1])
        elif node.kind == "cat":
            axis, start = int(node.attributes["axis"]), 0
            for number in node.inputs:
                assert number is not None
                end = start + facts.graph.shape(number)[axis]
                part = needed
                if needed.shape[axis] > 1:
                    part = np.take(needed, np.arange(start, end), axis)
                facts.add_read(number, part)
                start = end
        elif node.kind == "pad":
            for d, low in enumerate(node.attributes["before"]):
                if needed.shape[d] == 1:
                    continue
                if low < 0 or (node.attributes["value"] is None and needed.shape[d] != old[d]):
                    needed = np.asarray(needed.any(d, keepdims=True))
                else:
                    needed = np.take(needed, np.arange(low, low + old[d]), d)
            facts.add_read(x, needed)
        else:
            facts.add_read(x, fit_reads(needed, old))

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: channels only pass through."""

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: a table of positions names the new ones."""
        if node.kind != "take" or len(node.inputs) < 2:
            return
        axis, index = int(node.attributes["axis"]), np.asarray(node.attributes["index"], np.int64)
        x, table = node.inputs
        assert x is not None and table is not None
        stays, made = fate.kept(x, axis), fate.kept(node.outputs[0], axis)
        if not stays.all():
            edits.tables[table] = (np.cumsum(stays) - 1)[index[made]]

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: none."""
        return 0
