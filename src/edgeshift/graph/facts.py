# SPDX-License-Identifier: Apache-2.0
"""What is known of every tensor: which channels are constant, which are read, and what keeps a channel alive."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edgeshift.graph.channels import (
    Array,
    ChannelGraph,
    Node,
    all_of,
    along,
    any_along,
    fit_reads,
    none_of,
    unknown,
)
from edgeshift.graph.ranges import Ranges
from edgeshift.graph.ties import Ties
from edgeshift.graph.weights import finite, nonzero


@dataclass
class Facts:
    """Two lattices over the graph, filled by the rules.

    Attributes:
        graph: The network.
        const: Per value, float64 of full rank, size 1 where all is the same along an axis; NaN = not known.
        read: Per value, bool of full rank; False = no output depends on it.
        shares: Values whose last axis sums to one, such as the output of a softmax.
        tainted: Per value, whether NaN or infinity may flow in it, so that "times zero" is not zero.
        pairs: What `pairs_of` found.
        infinite: Parameter -> whether it has numbers that are not finite.
        ranges: Bounds of values.
        factors: Output of a batch norm -> `(n,)` float64, what it multiplies by; None until somebody asks.
        channels: What `channel` found.
        needs: What `needed` found.
    """

    graph: ChannelGraph
    const: list[Array] = field(default_factory=list)
    read: list[Array] = field(default_factory=list)
    tainted: list[bool] = field(default_factory=list)
    shares: set[int] = field(default_factory=set)
    pairs: dict[int, Array] = field(default_factory=dict)
    infinite: dict[int, bool] = field(default_factory=dict)
    ranges: Ranges = field(init=False)
    factors: dict[int, Array] | None = None
    channels: dict[tuple[int, int], Array] = field(default_factory=dict)
    needs: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Never written to, only replaced: all of one rank may share it.
        ranks = [len(v.shape) for v in self.graph.values]
        self.const = [unknown(rank) for rank in ranks]
        self.read = [none_of(rank) for rank in ranks]
        self.tainted = [False] * len(ranks)
        self.ranges = Ranges(self.graph)
        vectors = self.graph.vectors
        # One look at all of them, since asking each takes longer than looking does.
        if vectors and np.isfinite(np.concatenate(list(vectors.values()))).all():
            self.infinite = dict.fromkeys(vectors, False)

    def constant(self, number: int | None) -> Array:
        """What is known of a value; a parameter's own numbers, with NaN for anything not finite."""
        assert number is not None
        data = self.graph.values[number].data
        if data is None:
            return self.const[number]
        numbers = np.asarray(data, np.float64)
        return np.where(np.isfinite(numbers), numbers, np.nan)

    def blank(self, numbers: list[int]) -> bool:
        """Whether nothing at all is known of one of these values."""
        for number in numbers:
            if self.graph.values[number].data is None:
                const = self.const[number]
                if const is unknown(const.ndim) or (const.size == 1 and np.isnan(const.item())):
                    return True
        return False

    def numbers(self, number: int | None) -> Array | None:
        """All numbers of a value if they are known: a parameter, or something computed from parameters alone."""
        assert number is not None
        value = self.graph.values[number]
        if value.data is not None:
            return value.data
        const = self.const[number]
        if np.isnan(const).any():
            return None
        return np.broadcast_to(const, value.shape)

    def pairs_of(self, number: int) -> Array:
        """`(a, b)`, bool: which entries of a weight's first two axes have a tap that is not zero."""
        if number not in self.pairs:
            numbers = self.numbers(number)
            assert numbers is not None
            self.pairs[number] = nonzero(numbers)
        return self.pairs[number]

    def channel(self, number: int | None, axis: int) -> Array:
        """`(n,)` float64: the constant of each channel along an axis, NaN where it is none or varies elsewhere.

        To be asked only once the value's constants are known. Not to be written to.
        """
        assert number is not None
        known = self.channels.get((number, axis))
        if known is None:
            known = along(self.constant(number), axis, self.graph.shape(number)[axis])
            self.channels[number, axis] = known
        return known

    def needed(self, number: int) -> Array:
        """Bool of full rank: read by someone and not known beforehand."""
        known = self.needs.get(number)
        if known is None:
            known, const = self.read[number], self.const[number]
            if const is not unknown(const.ndim):
                known = np.asarray(known & np.isnan(const))
            self.needs[number] = known
        return known

    def needed_channels(self, number: int, axis: int) -> Array:
        """`(n,)`, bool: any entry of the channel is needed."""
        return any_along(self.needed(number), axis, self.graph.values[number].shape[axis])

    def add_read(self, number: int | None, array: Array) -> None:
        """Note that these entries of a value are read; wider arrays are reduced to its shape."""
        if number is None:
            return
        shape = self.graph.values[number].shape
        rank, held, more = len(shape), self.read[number], fit_reads(array, shape)
        if held is not all_of(rank):
            self.read[number] = more if held is none_of(rank) else held | more
            self.needs.pop(number, None)

    def read_all_of(self, number: int | None) -> None:
        """Note that all of a value is read."""
        if number is not None:
            self.read[number] = all_of(len(self.graph.values[number].shape))
            self.needs.pop(number, None)

    def read_whole(self, node: Node) -> None:
        """Every input is read wherever any output is."""
        if any(self.read[o].any() for o in node.outputs):
            for number in node.inputs:
                if number is not None:
                    self.read_all_of(number)

    def is_tainted(self, number: int | None) -> bool:
        """Whether NaN or infinity may flow in a value."""
        if number is None:
            return False
        known = self.infinite.get(number)
        if known is None:
            data = self.graph.values[number].data
            if data is None or data.dtype.kind != "f":
                return self.tainted[number]
            known = self.infinite[number] = not finite(data)
        return known


@dataclass(frozen=True)
class Merge:
    """Constant channels that a reader with zero padding cannot take into its bias.

    One of them is kept and carries the others: its weights become the sum of theirs, scaled by the constants.

    Attributes:
        node: Position of the reader.
        value: The tensor it reads.
        axis: The channel axis.
        channels: Positions along the axis.
        constants: What each of them is, never 0.
    """

    node: int
    value: int
    axis: int
    channels: Array
    constants: Array


@dataclass(frozen=True)
class Lift:
    """A known channel that a norm is changed for, so that it can carry other constants.

    Attributes:
        param: The norm's shift.
        channel: Position in it, and of the carrier before the reader.
        shift: To add there.
        constant: What the reader sees of the channel afterwards.
    """

    param: int
    channel: int
    shift: float
    constant: float


@dataclass
class Demands:
    """Why channels must stay.

    Attributes:
        ties: The atoms.
        kept: Atoms that must stay.
        merges: Sets of constant channels of which one must stay.
        named: Operators without a rule that kept channels: source name -> count.
        silent: Atoms whose channel goes, so that what it would read is not asked for.
        noted: Atoms of constant channels that asked for other constants, in case they go themselves.
    """

    ties: Ties
    kept: list[Array] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    named: dict[str, int] = field(default_factory=dict)
    silent: Array | None = None
    noted: list[Array] = field(default_factory=list)

    def is_silent(self, number: int, axis: int) -> Array:
        """`(n,)`, bool: channels that are known to go."""
        vector = self.ties.axis(number, axis)
        if vector is None or self.silent is None:
            return np.zeros(self.ties.graph.shape(number)[axis], np.bool_)
        return np.asarray(self.silent[self.ties.roots(vector)])

    def note(self, number: int, axis: int, which: Array) -> None:
        """These channels are constant and asked for others; if they go, the question is put again."""
        vector = self.ties.axis(number, axis)
        if vector is not None:
            self.noted.append(vector[which])

    def keep(self, atoms: Array | None) -> None:
        """These must stay."""
        if atoms is not None and atoms.size:
            self.kept.append(np.ravel(atoms))

    def keep_axis(self, number: int | None, axis: int, which: Array) -> None:
        """Channels of one axis must stay.

        Args:
            number: The value.
            axis: Its axis.
            which: `(n,)`, bool.
        """
        if number is None:
            return
        labels = self.ties.labels[number]
        if axis in labels.box_axes():
            assert labels.cells is not None
            cells = np.moveaxis(labels.cells, axis, 0)
            self.keep(cells[which] if len(cells) == len(which) else cells)
        elif labels.axes[axis] is not None:
            vector = labels.axes[axis]
            assert vector is not None
            self.keep(vector[which])


@dataclass
class Edits:
    """What surgery must change besides cutting.

    Attributes:
        bias: `(position of the node) -> (out,)` float64 to add to its bias.
        columns: Weight value -> list of (axis, carrier, gone, factors): column `carrier` += sum factor * column `gone`.
        grouped: Weight value -> `(groups, n)` bool: which inputs stay in each group of a grouped convolution.
        attributes: Position of the node -> attribute -> new value, such as `{"groups": 3}`.
        rows: Parameter value -> `(rows,)` float64 factor on each row.
        shifts: Parameter value -> `(rows,)` float64 to add to it.
        tables: Buffer of positions -> the new ones.
    """

    bias: dict[int, Array] = field(default_factory=dict)
    columns: dict[int, list[tuple[int, int, Array, Array]]] = field(default_factory=dict)
    grouped: dict[int, Array] = field(default_factory=dict)
    attributes: dict[int, dict[str, object]] = field(default_factory=dict)
    rows: dict[int, Array] = field(default_factory=dict)
    shifts: dict[int, Array] = field(default_factory=dict)
    tables: dict[int, Array] = field(default_factory=dict)


class Fate(Protocol):
    """Who stays, once all is decided."""

    ties: Ties

    def kept(self, number: int, axis: int) -> Array:
        """`(n,)`, bool, along one axis of a value; all True where the size does not change."""

    def carriers(self, position: int) -> dict[int, int]:
        """Channel that went -> channel that carries its constant, for one reader."""

    def lift(self, position: int) -> Lift | None:
        """How that channel got a constant, if it had none of its own."""

    def size(self, number: int) -> tuple[int, ...]:
        """Shape after the cut."""
