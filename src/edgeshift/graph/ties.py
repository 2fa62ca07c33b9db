# SPDX-License-Identifier: Apache-2.0
"""Which channels of which tensors are one and the same thing, and so stay or go together."""

from dataclasses import dataclass, field

import numpy as np

from edgeshift.graph.channels import Array, ChannelGraph, groups_of_reshape, narrow, reshape_array


@dataclass
class Labels:
    """The atoms along one tensor's axes.

    Attributes:
        axes: One int vector of atoms per axis, or None where the axis must keep its size.
        cells: Where two or more axes split one set of channels (heads x width): the atom of each cell, an
            array of full rank with size 1 on all other axes. The last such axis has no vector in `axes`.
    """

    axes: list[Array | None]
    cells: Array | None = None

    def box_axes(self) -> list[int]:
        """Axes that the cells span."""
        return [] if self.cells is None else [d for d, n in enumerate(self.cells.shape) if n > 1]


@dataclass
class Box:
    """Cells that must stay a full block: whole slices go, or the same number from every slice.

    Attributes:
        cells: Atoms `(n_1, ..., n_k)`.
        slices: For each leading axis, the atom of each slice.
        strict: The same positions must go from every slice, since a later operator interleaves them.
        whole: A slice that stays keeps all its cells.
    """

    cells: Array
    slices: list[Array]
    strict: bool = False
    whole: bool = False


@dataclass
class Ties:
    """Atoms, who is tied to whom, and what must stay.

    Attributes:
        graph: The network; without its numbers once all is tied.
        labels: One entry per value of the graph.
        boxes: Every block that must stay full.
        parents: Union-find forest over atoms.
        pinned: Atoms that may never go.
        uses: Value number -> how many inputs of nodes and outputs of the network it is.
        fixed: Values whose sizes the user's code fixes.
        settled: Whether all is tied; see `settle`.
        lowest: Lowest atom of a box's cells as they were made -> boxes.
        columns: Weight of grouped convolutions -> the input atoms of each use; None where they must stay.
        places: Once settled, every vector of representatives with the (value, axis) pairs it stands along, those that
            a box spans and parameters left out.
        spread: Once settled, the values with cells.
        sets: Once settled, all different vectors of representatives, one after the other, and where each begins.
        held: Once settled, the representatives of all that is pinned.
    """

    graph: ChannelGraph
    labels: list[Labels] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    parents: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    used: int = 0
    pinned: list[Array] = field(default_factory=list)
    uses: dict[int, int] = field(default_factory=dict)
    fixed: frozenset[int] = frozenset()
    settled: bool = False
    lowest: dict[int, list[Box]] = field(default_factory=dict)
    columns: dict[int, list[Array | None]] = field(default_factory=dict)
    places: list[tuple[Array, list[tuple[int, int]]]] = field(default_factory=list)
    spread: list[int] = field(default_factory=list)
    sets: tuple[Array, Array] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.int64)))
    held: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        taken = (number for node in self.graph.nodes for number in node.inputs)
        for number in (*taken, *self.graph.outputs):
            if number is not None:
                self.uses[number] = self.uses.get(number, 0) + 1
        self.labels = [Labels([None] * len(v.shape)) for v in self.graph.values]

    def fresh(self, count: int) -> Array:
        """`count` new atoms."""
        if self.used + count > len(self.parents):
            grown = np.arange(max(2 * len(self.parents), self.used + count, 1024), dtype=np.int64)
            grown[: self.used] = self.parents[: self.used]
            self.parents = grown
        self.used += count
        return np.arange(self.used - count, self.used, dtype=np.int64)

    def settle(self) -> None:
        """Once all that is tied is tied: point every atom at its representative, and put those into the labels."""
        self.parents = self.roots(np.arange(self.used))
        self.settled = True
        roots: dict[bytes, Array] = {}
        known: dict[
            int, tuple[Array, Array]
        ] = {}  # id -> the vector, which keeps the id its own, and its roots
        along: dict[int, tuple[Array, list[tuple[int, int]]]] = {}
        for number, labels in enumerate(self.labels):
            spans = labels.box_axes()
            for axis, vector in enumerate(labels.axes):
                if vector is None:
                    continue
                if id(vector) not in known:
                    found = self.parents[vector]
                    known[id(vector)] = (vector, roots.setdefault(found.tobytes(), found))
                labels.axes[axis] = known[id(vector)][1]
                if axis not in spans and self.graph.values[number].data is None:
                    found = known[id(vector)][1]
                    along.setdefault(id(found), (found, []))[1].append((number, axis))
            if labels.cells is not None:
                labels.cells = self.parents[labels.cells]
                self.spread.append(number)
        self.places = list(along.values())
        for box in self.boxes:
            box.cells = self.parents[box.cells]
            box.slices = [self.parents[s] for s in box.slices]
        filled = [v for v in roots.values() if v.size]
        starts = np.cumsum([0, *(len(v) for v in filled)])[:-1]
        self.sets = (np.concatenate(filled), starts) if filled else self.sets
        if self.pinned:
            self.held = self.parents[np.concatenate(self.pinned)]

    def roots(self, atoms: Array) -> Array:
        """The representative of each atom."""
        found: Array = self.parents[atoms]
        while not self.settled:
            upper = self.parents[found]
            if np.array_equal(upper, found):
                break
            found = upper
        return found

    def union(self, a: Array, b: Array) -> None:
        """Tie `a[i]` to `b[i]` for every i."""
        assert not self.settled
        a, b = (np.ravel(x) for x in np.broadcast_arrays(a, b))
        while True:
            ra, rb = self.roots(a), self.roots(b)
            differ = ra != rb
            if not differ.any():
                return
            ra, rb = ra[differ], rb[differ]
            # Several unions may share a root; minimum.at lets one win, the loop finishes the others.
            np.minimum.at(self.parents, np.maximum(ra, rb), np.minimum(ra, rb))
            a, b = a[differ], b[differ]

    def pin(self, atoms: Array | None) -> None:
        """Never remove these."""
        if atoms is not None:
            self.pinned.append(np.ravel(atoms))

    def pin_value(self, number: int | None) -> None:
        """Never change a size of this tensor."""
        if number is not None:
            if self.graph.values[number].param:  # it may be met again where it would shrink
                for axis in range(len(self.labels[number].axes)):
                    self.param_axis(number, axis)
            for vector in self.labels[number].axes:
                self.pin(vector)
            self.pin(self.labels[number].cells)

    def axis(self, number: int, axis: int) -> Array | None:
        """The atoms along one axis, or None where the size must stay or several axes share them."""
        labels = self.labels[number]
        return None if axis in labels.box_axes() and labels.axes[axis] is None else labels.axes[axis]

    def param_axis(self, number: int, axis: int) -> Array:
        """The atoms along a parameter's axis; made on first use."""
        vector = self.labels[number].axes[axis]
        if vector is None:
            vector = self.fresh(self.graph.values[number].shape[axis])
            self.labels[number].axes[axis] = vector
        return vector

    def weight_axis(self, number: int, axis: int) -> Array | None:
        """The atoms along a weight's axis; None where the weight is not a parameter that can be cut."""
        if self.graph.values[number].param:
            return self.param_axis(number, axis)
        return self.axis(number, axis)

    def adopt(self, number: int, axis: int, vector: Array) -> None:
        """Tie a parameter's axis to atoms that are there; on first use it takes them for its own."""
        own = self.labels[number].axes[axis]
        if own is not None:
            self.union(own, vector)
        elif len(vector) == self.graph.values[number].shape[axis]:
            self.labels[number].axes[axis] = vector
        else:
            self.union(self.param_axis(number, axis), vector)

    def tie_axes(self, parts: list[tuple[int, int]]) -> Array | None:
        """Tie whole axes of several tensors; if one of them must keep its size, all must.

        Returns:
            The common atoms, or None where the size must stay.
        """
        vectors = [self.axis(number, axis) for number, axis in parts]
        if any(v is None for v in vectors):
            for (number, axis), vector in zip(parts, vectors, strict=True):
                self.pin(vector)
                if axis in self.labels[number].box_axes():
                    self.pin(self.labels[number].cells)
            return None
        first = vectors[0]
        assert first is not None
        for other in vectors[1:]:
            assert other is not None
            self.union(first, other)
        return first

    def add_box(self, cells: Array, slices: list[Array] | None = None) -> Box:
        """A block that must stay full; slices with equal cells share one atom."""
        if slices is None:
            slices = []
            distinct = len(set(cells.ravel().tolist())) == cells.size  # then no two slices are equal
            for axis in range(cells.ndim - 1):
                if distinct:
                    slices.append(self.fresh(cells.shape[axis]))
                    continue
                rows = np.moveaxis(cells, axis, 0).reshape(cells.shape[axis], -1)
                keys = [tuple(row) for row in rows.tolist()]  # numpy's own unique takes ten times as long
                place = {key: i for i, key in enumerate(sorted(set(keys)))}
                slices.append(self.fresh(len(place))[[place[key] for key in keys]])
        box = Box(cells, slices)
        self.boxes.append(box)
        if cells.size:
            self.lowest.setdefault(int(cells.min()), []).append(box)
        return box

    def joint(self, rank: int, cells: Array, known: dict[int, Array] | None = None) -> Labels:
        """Labels for a tensor whose atoms are `cells`, an array of full rank; axes without change are free.

        Args:
            rank: Number of axes.
            cells: Atoms; size 1 where the axis does not matter.
            known: Slice atoms of leading axes that are known from the tensor it was made of.
        """
        cells = narrow(cells)
        spans = [d for d, n in enumerate(cells.shape) if n > 1]
        axes: list[Array | None] = [None] * rank
        if len(spans) <= 1:
            for d in spans:
                axes[d] = cells.ravel()
            return Labels(axes)
        slices = [(known or {}).get(d) for d in spans[:-1]]
        if any(s is None for s in slices):
            slices = list(self.add_box(cells.reshape([cells.shape[d] for d in spans])).slices)
        for d, vector in zip(spans[:-1], slices, strict=True):
            axes[d] = vector
        return Labels(axes, cells)

    def reshape(self, labels: Labels, old: tuple[int, ...], new: tuple[int, ...]) -> Labels:
        """Labels after a reshape."""
        runs = groups_of_reshape(old, new)
        if labels.cells is not None:
            known: dict[int, Array] = {}
            for left, right in runs:
                vectors = [labels.axes[d] for d in left]
                if len(left) == 1 and vectors[0] is not None:
                    parts = vectors[0].reshape([new[d] for d in right])
                    spans = [i for i, n in enumerate(narrow(parts).shape) if n > 1]
                    if len(spans) == 1:
                        known[right[spans[0]]] = narrow(parts).ravel()
            cells = reshape_array(labels.cells, old, new)
            self._watch_order(labels.cells, cells)
            return self.joint(len(new), cells, known)
        axes: list[Array | None] = [None] * len(new)
        cells_out: Array | None = None
        for left, right in runs:
            tracked = [d for d in left if labels.axes[d] is not None]
            if not tracked:
                continue
            if len(tracked) > 1:  # two independent axes merge: their product has no atoms of its own
                for d in tracked:
                    self.pin(labels.axes[d])
                continue
            vector = labels.axes[tracked[0]]
            assert vector is not None
            if len(left) == len(right) == 1:
                axes[right[0]] = vector
                continue
            block = vector.reshape([old[d] if d == tracked[0] else 1 for d in left])
            flat = np.broadcast_to(block, [old[d] for d in left]).reshape([new[d] for d in right])
            inner = self.joint(len(right), flat)
            if inner.cells is not None and cells_out is not None:  # a second box in one tensor
                self.pin(flat)
                continue
            for d, part in zip(right, inner.axes, strict=True):
                axes[d] = part
            if inner.cells is not None:
                shape = [1] * len(new)
                for d, n in zip(right, inner.cells.shape, strict=True):
                    shape[d] = n
                cells_out = inner.cells.reshape(shape)
        return Labels(axes, cells_out)

    def _watch_order(self, before: Array, after: Array) -> None:
        """Mark boxes strict whose cells a reshape reads in another order than they were made in."""
        boxes = self.lowest.get(int(before.min()), []) if before.size else []
        order = np.array(list(dict.fromkeys(after.ravel().tolist())) if boxes else [], np.int64)
        for box in boxes:
            made = box.cells.ravel()
            if (
                len(made) == len(order)
                and not np.array_equal(made, order)
                and np.array_equal(np.unique(made), np.unique(before))
            ):
                box.strict = True

    def permute(self, labels: Labels, order: tuple[int, ...]) -> Labels:
        """Labels after a transpose."""
        cells = None if labels.cells is None else labels.cells.transpose(order)
        axes = [labels.axes[d] for d in order]
        if cells is not None:
            spans = [d for d, n in enumerate(cells.shape) if n > 1]
            if axes[spans[-1]] is not None:  # the axis without a vector is no longer last
                return self.joint(len(order), cells)
        return Labels(axes, cells)

    def take(self, labels: Labels, axis: int, index: Array) -> Labels:
        """Labels after picking positions along one axis."""
        axes = list(labels.axes)
        vector = axes[axis]
        if labels.cells is not None and labels.cells.shape[axis] > 1:
            known = {d: v for d, v in enumerate(axes) if v is not None and d != axis}
            if vector is not None:
                known[axis] = vector[index]
            return self.joint(len(axes), np.take(labels.cells, index, axis), known)
        if vector is not None:
            axes[axis] = vector[index]
        return Labels(axes, labels.cells)
