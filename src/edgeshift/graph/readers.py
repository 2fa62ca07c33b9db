# SPDX-License-Identifier: Apache-2.0
"""What convolutions and linear layers share: each output channel is a weighted sum over input channels."""

from dataclasses import dataclass

import numpy as np

from edgeshift.graph.channels import Array
from edgeshift.graph.facts import Demands, Edits, Facts, Fate, Merge
from edgeshift.graph.ties import Labels, Ties
from edgeshift.graph.weights import broken_columns, columns_met, scan


@dataclass(frozen=True)
class Reader:
    """One weighted sum over channels.

    Attributes:
        x: Input value and `axis` its channel axis.
        w: Weight value; axes `w_out`, `w_in` are its channel axes, all others are taps.
        bias: Bias value or None.
        out: Output value and `out_axis` its channel axis.
        groups: Number of independent groups.
        even: Whether a constant input channel adds the same to every position (no zero padding in the way).
        can_bias: Whether something may be added to the bias (there is one, or the layer can be given one).
    """

    x: int
    axis: int
    w: int
    w_out: int
    w_in: int
    bias: int | None
    out: int
    out_axis: int
    groups: int
    even: bool
    can_bias: bool

    def matrix(self, facts: Facts) -> Array:
        """The weight's numbers, rows first: `(out, in, *taps)`."""
        numbers = facts.numbers(self.w)
        assert numbers is not None
        return numbers if self.w_out == 0 else np.swapaxes(numbers, 0, 1)

    def pairs(self, facts: Facts) -> Array:
        """`(groups, out / groups, in / groups)`, bool: which pairs have a weight that is not zero."""
        pairs = facts.pairs_of(self.w)
        return pairs.reshape(self.groups, pairs.shape[0] // self.groups, pairs.shape[1])

    def live(self, facts: Facts, columns: Array) -> Array:
        """`(out,)`, bool: has a weight that is not zero on one of these inputs, or one that is not finite."""
        if self.groups > 1:
            found = (self.pairs(facts) & columns.reshape(self.groups, 1, -1)).any(2).reshape(-1)
            if facts.is_tainted(self.w):
                found = found | ~np.isfinite(self.matrix(facts).reshape(len(found), -1)).all(1)
            return found
        if self.w_out == 1:
            found = columns_met(np.swapaxes(self.matrix(facts), 0, 1), columns)
            if facts.is_tainted(self.w):
                found = found | broken_columns(
                    np.swapaxes(self.matrix(facts), 0, 1), np.ones(len(columns), np.bool_)
                )
            return found
        seen = scan(self.matrix(facts), columns)
        facts.infinite.setdefault(self.w, not seen.finite)
        return seen.rows

    def heard(self, facts: Facts, rows: Array, among: Array | None = None) -> Array:
        """`(in,)`, bool: inputs on which one of these outputs has a weight that is not zero.

        Args:
            facts: Holds the numbers.
            rows: `(out,)`, bool.
            among: `(in,)`, bool; others come out False.
        """
        if self.groups > 1:
            found = (self.pairs(facts) & rows.reshape(self.groups, -1, 1)).any(1).reshape(-1)
            return found if among is None else found & among
        if self.w_out == 1:
            numbers = np.swapaxes(self.matrix(facts), 0, 1)
            if facts.is_tainted(self.w):
                found = ((numbers.reshape(*numbers.shape[:2], -1) != 0).any(2) & rows).any(1)
            else:
                found = scan(numbers, rows).rows
            return found if among is None else found & among
        return columns_met(self.matrix(facts), rows, among)

    def broken(self, facts: Facts, rows: Array) -> Array:
        """`(in,)`, bool: inputs on which one of these outputs has a weight that is not finite."""
        matrix = self.matrix(facts)
        if self.groups == 1:
            return broken_columns(matrix, rows)
        bad = ~np.isfinite(matrix.reshape(*matrix.shape[:2], -1)).all(2)
        return (
            (bad.reshape(self.groups, -1, bad.shape[1]) & rows.reshape(self.groups, -1, 1)).any(1).reshape(-1)
        )


def tie_reader(reader: Reader, ties: Ties) -> None:
    """Tie input channels to weight columns, weight rows to bias and output channels."""
    shape = ties.graph.values[reader.out].shape
    for axis in range(len(ties.graph.values[reader.x].shape)):
        if axis != reader.axis and ties.labels[reader.x].axes[axis] is not None:
            ties.pin(ties.labels[reader.x].axes[axis])
    labels = ties.labels[reader.x]
    if reader.axis in labels.box_axes():
        ties.pin(labels.cells)
    for vector in ties.labels[reader.w].axes[2:]:  # taps are no channels
        ties.pin(vector)
    columns = ties.axis(reader.x, reader.axis)
    rows = ties.weight_axis(reader.w, reader.w_out)
    if reader.bias is not None and rows is not None:
        if ties.graph.values[reader.bias].param:
            ties.adopt(reader.bias, 0, rows)
        else:
            other = ties.axis(reader.bias, 0)
            if other is None:
                ties.pin(rows)
            else:
                ties.union(rows, other)
    if reader.groups == 1:
        if columns is not None and ties.graph.values[reader.w].param:
            ties.adopt(reader.w, reader.w_in, columns)
        else:
            inner = ties.weight_axis(reader.w, reader.w_in)
            if inner is None or columns is None:
                ties.pin(inner)
                ties.pin(columns)
            else:
                ties.union(inner, columns)
    elif _is_depthwise(reader, ties) and columns is not None and rows is not None:
        ties.union(columns, rows)
        ties.columns.setdefault(reader.w, []).append(columns)
    else:
        slices = ties.fresh(reader.groups)
        if columns is None or rows is None or not ties.graph.values[reader.w].param:
            ties.pin(slices)
            ties.pin(columns)
            if not ties.graph.values[reader.w].param:
                ties.pin(rows)
        others = ties.columns.setdefault(reader.w, [])
        others.append(columns)
        if any(c is None or len(c) != len(others[0] if others[0] is not None else c) for c in others):
            for other in others:
                ties.pin(other)
        elif columns is not None and others[0] is not None:
            ties.union(others[0], columns)  # a weight that is used again has one set of columns
        if columns is not None:
            ties.add_box(columns.reshape(reader.groups, -1), [slices])
        if rows is not None:
            ties.add_box(rows.reshape(reader.groups, -1), [slices])
    axes: list[Array | None] = [None] * len(shape)
    axes[reader.out_axis] = rows
    ties.labels[reader.out] = Labels(axes)


def _is_depthwise(reader: Reader, ties: Ties) -> bool:
    """Whether each channel is a group of its own, of a weight that is used once: then channel and filter are one."""
    x, w = ties.graph.shape(reader.x), ties.graph.values[reader.w]
    single = x[reader.axis] == w.shape[0] == reader.groups
    return single and bool(w.param) and not is_shared(reader.w, ties)


def reader_constants(reader: Reader, facts: Facts) -> None:
    """An output channel is constant where every weight it has meets a constant it can sum."""
    known = facts.numbers(reader.w) is not None
    if known:
        inputs = facts.channel(reader.x, reader.axis)
        blocked = np.isnan(inputs) if reader.even else (inputs != 0)  # NaN != 0 is true
        live = reader.live(facts, blocked)
    facts.tainted[reader.out] = any(
        facts.is_tainted(i) for i in (reader.x, reader.w, reader.bias) if i is not None
    )
    if (
        not known or facts.is_tainted(reader.x) or np.count_nonzero(live) == len(live)
    ):  # zero times NaN is NaN
        return
    bias = np.zeros(live.shape) if reader.bias is None else facts.constant(reader.bias)
    result = np.where(live, np.nan, bias)
    if reader.even:
        dead = (~live).nonzero()[0]
        result[dead] += _sum_constants(
            reader, facts, dead, np.where(np.isnan(inputs), 0.0, inputs).reshape(reader.groups, -1)
        )
    shape = [1] * len(facts.graph.values[reader.out].shape)
    shape[reader.out_axis] = len(result)
    facts.const[reader.out] = result.reshape(shape)


def _sum_constants(reader: Reader, facts: Facts, rows: Array, inputs: Array) -> Array:
    """`(rows,)`: what constant input channels `(groups, in / groups)` add to some output channels, float64."""
    if not np.count_nonzero(inputs):
        return np.zeros(len(rows))
    numbers = facts.numbers(reader.w)
    assert numbers is not None
    size = facts.graph.values[reader.out].shape[reader.out_axis] // reader.groups
    total = np.zeros(len(rows))
    for g in np.unique(rows // size):
        here = rows // size == g
        used = np.flatnonzero(inputs[g])
        if not used.size:
            continue
        if (
            reader.groups == 1
        ):  # few columns of all rows, or all columns of one group's rows: the smaller copy first
            picked = np.take(np.take(numbers, used, reader.w_in), rows, reader.w_out)
        else:
            picked = np.take(np.take(numbers, rows[here], reader.w_out), used, reader.w_in)
        taps = np.moveaxis(picked, (reader.w_out, reader.w_in), (0, 1)).astype(np.float64)
        taps = taps.reshape(int(here.sum()), len(used), -1).sum(2)
        total[here] = np.where(taps != 0, taps * inputs[g][used], 0.0).sum(1)
    return total


def reader_reads(reader: Reader, facts: Facts) -> None:
    """An input channel is read where a needed output channel has a weight on it that is not zero."""
    needed = facts.needed_channels(reader.out, reader.out_axis)
    if not np.count_nonzero(needed):
        return
    for number in (reader.w, reader.bias):
        if number is not None:
            facts.read_all_of(number)
    size = facts.graph.values[reader.x].shape[reader.axis]
    if facts.numbers(reader.w) is None or facts.is_tainted(reader.x):
        read = np.ones(size, np.bool_)
    else:
        # Whether a known channel is read does not matter: whoever needs its number asks for it.
        read = reader.heard(facts, needed, np.isnan(facts.channel(reader.x, reader.axis)))
    shape = [1] * len(facts.graph.values[reader.x].shape)
    shape[reader.axis] = size
    facts.add_read(reader.x, read.reshape(shape))


def reader_demand(reader: Reader, position: int, facts: Facts, demands: Demands, *, shared: bool) -> None:
    """Constant channels that are not zero: into the bias, or merged into one, or kept."""
    whole = facts.constant(reader.x)
    if whole.size == 1 and np.isnan(whole.item()):
        return
    size = facts.graph.values[reader.x].shape[reader.axis]
    constants = facts.channel(reader.x, reader.axis)
    if whole.size == whole.shape[reader.axis]:
        known = ~np.isnan(constants)
    else:
        others = tuple(d for d in range(whole.ndim) if d != reader.axis)
        known = np.broadcast_to(~np.isnan(whole).any(others), (size,))
    moving = known & (constants != 0)  # not zero, or not the same at every position
    dirty = facts.is_tainted(reader.w) or facts.numbers(reader.w) is None
    if not np.count_nonzero(moving) and not dirty:
        return
    needed = facts.needed_channels(reader.out, reader.out_axis)
    fixed = ~needed & ~np.isnan(facts.channel(reader.out, reader.out_axis))
    alive = needed | (fixed & ~demands.is_silent(reader.out, reader.out_axis))
    if facts.numbers(reader.w) is None:
        demands.keep_axis(reader.x, reader.axis, known if alive.any() else np.zeros(size, np.bool_))
        return
    used = reader.heard(facts, alive, moving)
    demands.keep_axis(reader.x, reader.axis, used & np.isnan(constants))
    if dirty:  # NaN or infinity times zero is NaN
        demands.keep_axis(reader.x, reader.axis, known & reader.broken(facts, alive))
    shift = used & ~np.isnan(constants)
    if not shift.any():
        return
    weight = facts.graph.values[reader.w]
    movable = not shared and reader.groups == 1 and bool(weight.param) and not weight.sealed
    if takes_constants(reader, demands.ties) and not shared:
        return
    demands.note(reader.out, reader.out_axis, fixed)
    if movable:
        which = np.flatnonzero(shift)
        demands.merges.append(Merge(position, reader.x, reader.axis, which, constants[which]))
        return
    demands.keep_axis(reader.x, reader.axis, shift)


def reader_edit(reader: Reader, position: int, facts: Facts, fate: Fate, edits: Edits) -> None:
    """Move what the gone constants added into the bias, or onto the channel that carries them."""
    stays = fate.kept(reader.x, reader.axis)
    if reader.groups > 1:
        grid = stays.reshape(reader.groups, -1)
        groups = int(grid.any(1).sum())
        if groups != reader.groups:
            edits.attributes.setdefault(position, {})["groups"] = groups
        if grid.shape[1] > 1 and np.count_nonzero(grid) < grid.size:
            edits.grouped[reader.w] = grid
    constants = facts.channel(reader.x, reader.axis)
    gone = ~stays & ~np.isnan(constants) & (constants != 0)
    if not np.count_nonzero(gone):
        return
    carried, lift = fate.carriers(position), fate.lift(position)
    for carrier in sorted(set(carried.values())):
        which = np.array([i for i, j in carried.items() if j == carrier and gone[i]], np.int64)
        if which.size:
            gone[which] = False
            factors = constants[which] / (constants[carrier] if lift is None else lift.constant)
            if lift is not None:  # what the carrier itself gave changes with its constant
                shifts = edits.shifts.setdefault(lift.param, np.zeros(fate.kept(lift.param, 0).shape))
                shifts[carrier] += lift.shift
                which = np.append(which, carrier)
                factors = np.append(factors, constants[carrier] / lift.constant - 1)
            edits.columns.setdefault(reader.w, []).append((reader.w_in, carrier, which, factors))
    if gone.any() and takes_constants(reader, fate.ties) and facts.numbers(reader.w) is not None:
        rows = np.arange(facts.graph.values[reader.out].shape[reader.out_axis])
        inputs = np.where(gone, constants, 0.0).reshape(reader.groups, -1)
        delta = _sum_constants(reader, facts, rows, inputs) * fate.kept(reader.out, reader.out_axis)
        if delta.any():
            edits.bias[position] = delta


def takes_constants(reader: Reader, ties: Ties) -> bool:
    """Whether constants can go into the bias; if not, those that go reach only outputs that nobody needs."""
    lone = reader.bias is None or not is_shared(reader.bias, ties)
    return reader.even and reader.can_bias and lone and not is_shared(reader.w, ties)


def is_shared(number: int, ties: Ties) -> bool:
    """Whether a parameter is used more than once."""
    return ties.uses.get(number, 0) > 1
