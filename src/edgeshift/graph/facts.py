# SPDX-License-Identifier: Apache-2.0
"""What is known of every tensor: which channels are constant, which are read, and what keeps a channel alive."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edgeshift.graph.channels import Array, ChannelGraph, Node, along, any_along, fit_reads
from edgeshift.graph.ranges import Ranges
from edgeshift.graph.ties import Ties

# Numbers looked at in one go: few enough that their magnitudes stay in the cache, and memory stays flat.
CHUNK = 1 << 18


@dataclass
class Facts:
    """Two lattices over the graph, filled by the rules.

    Attributes:
        graph: The network.
        const: Per value, float64 of full rank, size 1 where all is the same along an axis; NaN = not known.
        read: Per value, bool of full rank; False = no output depends on it.
        shares: Values whose last axis sums to one, such as the output of a softmax.
        tainted: Per value, whether NaN or infinity may flow in it, so that "times zero" is not zero.
    """

    graph: ChannelGraph
    const: list[Array] = field(default_factory=list)
    read: list[Array] = field(default_factory=list)
    tainted: list[bool] = field(default_factory=list)
    shares: set[int] = field(default_factory=set)
    magnitudes: dict[int, Array] = field(default_factory=dict)
    infinite: dict[int, bool] = field(default_factory=dict)
    ranges: Ranges = field(init=False)

    def __post_init__(self) -> None:
        ones = [(1,) * len(v.shape) for v in self.graph.values]
        self.const = [np.full(s, np.nan) for s in ones]
        self.read = [np.zeros(s, np.bool_) for s in ones]
        self.tainted = [False] * len(ones)
        self.ranges = Ranges(self.graph)

    def constant(self, number: int | None) -> Array:
        """What is known of a value; a parameter's own numbers, with NaN for anything not finite."""
        assert number is not None
        data = self.graph.values[number].data
        if data is None:
            return self.const[number]
        numbers = np.asarray(data, np.float64)
        return np.where(np.isfinite(numbers), numbers, np.nan)

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

    def magnitude(self, number: int, lead: int) -> Array:
        """Sum of |w| over all but the first `lead` axes; 0 means "all zero", not finite means NaN or infinity inside.

        A matrix with `lead` 2 is handed out as it is, signs and all, since a copy would be as large as the model.
        Else computed once per value and shape, as one matrix-vector product: the cheapest pass over the numbers
        that still sees a NaN.
        """
        if number not in self.magnitudes:
            numbers = self.numbers(number)
            assert numbers is not None
            inner = int(np.prod(numbers.shape[lead:], dtype=np.int64))
            if inner == 1:
                return numbers.reshape(numbers.shape[:lead])
            flat = numbers.reshape(-1, inner)
            total = np.empty(len(flat), flat.dtype if flat.dtype.kind == "f" else np.float64)
            ones = np.ones(inner, total.dtype)
            rows = max(1, CHUNK // max(1, inner))
            with np.errstate(over="ignore", invalid="ignore"):
                for start in range(0, len(flat), rows):
                    total[start : start + rows] = np.abs(flat[start : start + rows]) @ ones
            self.magnitudes[number] = total.reshape(numbers.shape[:lead])
        return self.magnitudes[number]

    def channel(self, number: int | None, axis: int) -> Array:
        """`(n,)` float64: the constant of each channel along an axis, NaN where it is none or varies elsewhere."""
        return along(self.constant(number), axis, self.graph.shape(number)[axis])

    def needed(self, number: int) -> Array:
        """Bool of full rank: read by someone and not known beforehand."""
        return np.asarray(self.read[number] & np.isnan(self.const[number]))

    def needed_channels(self, number: int, axis: int) -> Array:
        """`(n,)`, bool: any entry of the channel is needed."""
        return any_along(self.needed(number), axis, self.graph.values[number].shape[axis])

    def add_read(self, number: int | None, array: Array) -> None:
        """Note that these entries of a value are read; wider arrays are reduced to its shape."""
        if number is None:
            return
        shape = self.graph.values[number].shape
        self.read[number] = self.read[number] | fit_reads(array, shape)

    def read_whole(self, node: Node) -> None:
        """Every input is read wherever any output is."""
        if any(self.read[o].any() for o in node.outputs):
            for number in node.inputs:
                if number is not None:
                    self.add_read(number, np.ones((1,) * len(self.graph.shape(number)), np.bool_))

    def is_tainted(self, number: int | None) -> bool:
        """Whether NaN or infinity may flow in a value."""
        if number is None:
            return False
        data = self.graph.values[number].data
        if data is not None and data.dtype.kind == "f":
            if number not in self.infinite:
                with np.errstate(over="ignore", invalid="ignore"):
                    # A sum is not finite as soon as one number is not; overflow only errs to the careful side.
                    total = self.magnitude(number, min(data.ndim, 2)).sum(dtype=np.float64)
                self.infinite[number] = not bool(np.isfinite(total))
            return self.infinite[number]
        return self.tainted[number]


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
    """

    bias: dict[int, Array] = field(default_factory=dict)
    columns: dict[int, list[tuple[int, int, Array, Array]]] = field(default_factory=dict)
    grouped: dict[int, Array] = field(default_factory=dict)
    attributes: dict[int, dict[str, object]] = field(default_factory=dict)
    rows: dict[int, Array] = field(default_factory=dict)
    shifts: dict[int, Array] = field(default_factory=dict)


class Fate(Protocol):
    """Who stays, once all is decided."""

    ties: Ties

    def kept(self, number: int, axis: int) -> Array:
        """`(n,)`, bool, along one axis of a value; all True where the size does not change."""

    def carriers(self, position: int) -> dict[int, int]:
        """Channel that went -> channel that carries its constant, for one reader."""

    def size(self, number: int) -> tuple[int, ...]:
        """Shape after the cut."""
