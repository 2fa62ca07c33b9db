# SPDX-License-Identifier: Apache-2.0
"""The contract of a design space: every design is a row of small whole numbers, one per choice."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue

NOUN = "space"

Designs = NDArray[np.int64]
Floats = NDArray[np.float64]

# Designs that are listed at most; 5 million rows of 6 choices are 240 MB.
LISTED = 5_000_000


class Space(ABC):
    """What can be chosen.

    A design is a row of `len(sizes)` whole numbers; place i holds 0..sizes[i]-1. Two rows may stand for the same
    design (a choice inside a block that is left out); `settle` gives the one row all of them share.
    """

    card: ClassVar[Card]

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, ...]:
        """How many options each choice has."""

    @abstractmethod
    def decode(self, design: Designs) -> Mapping[str, Any]:
        """What one design `(g,)` is, as JSON types a builder understands."""

    @abstractmethod
    def encode(self, described: Mapping[str, Any]) -> Designs:
        """The settled design `(g,)` of a description as `decode` gives it.

        Raises:
            BadValue: If the description is of no design of this space.
        """

    @property
    def ordered(self) -> bool:
        """Whether neighbouring options are alike, such as widths; otherwise options are names."""
        return False

    def settle(self, designs: Designs) -> Designs:
        """`(n, g)` designs of this space near the given rows; a settled design stays as it is.

        Every place of a row must hold one of its options; what else the space asks for is mended.
        """
        return designs

    def check(self, designs: Designs) -> NDArray[np.bool_]:
        """`(n,)`: which rows are settled designs of this space."""
        rows = np.asarray(designs)
        if rows.ndim != 2 or rows.shape[1] != len(self.sizes):
            return np.zeros(len(rows), bool)
        inside = np.asarray(((rows >= 0) & (rows < np.array(self.sizes))).all(1))
        inside[inside] = (self.settle(rows[inside]) == rows[inside]).all(1)
        return np.asarray(inside)

    def sample(self, n: int, rng: np.random.Generator) -> Designs:
        """`(n, g)` random designs, with repeats."""
        return self.settle(rng.integers(0, np.array(self.sizes), (n, len(self.sizes))))

    @property
    def count(self) -> int:
        """Rows before settling: at least as many as there are designs."""
        return math.prod(self.sizes)

    def every(self) -> Designs:
        """All designs, each once, in lexicographic order.

        Raises:
            BadValue: If there are more rows than memory should hold.
        """
        if self.count > LISTED:
            raise BadValue("designs to list", self.count, f"at most {LISTED}; take another solver")
        rows = np.indices(self.sizes).reshape(len(self.sizes), -1).T.astype(np.int64)
        settled = self.settle(rows)
        return np.asarray(rows[(settled == rows).all(1)])

    def mutate(self, designs: Designs, rate: float, rng: np.random.Generator) -> Designs:
        """Each choice drawn again with probability `rate`, and at least one in each row."""
        n, g = designs.shape
        change = rng.random((n, g)) < rate
        change[np.arange(n), rng.integers(0, g, n)] = True
        sizes = np.array(self.sizes)
        if self.ordered:  # a step to a near option, as far as a tenth of the range; a jump in one of four
            reach = np.maximum(1, sizes // 10)
            step = rng.integers(1, reach + 1, (n, g)) * rng.choice((-1, 1), (n, g))
            fresh = np.where(rng.random((n, g)) < 0.25, rng.integers(0, sizes, (n, g)), designs + step)
            fresh = np.clip(fresh, 0, sizes - 1)
        else:
            fresh = rng.integers(0, sizes, (n, g))
        return self.settle(np.where(change, fresh, designs))

    def crossover(self, one: Designs, other: Designs, rng: np.random.Generator) -> Designs:
        """`(n, g)`: each choice from either parent."""
        return self.settle(np.where(rng.random(one.shape) < 0.5, one, other))

    def numbers(self, designs: Designs) -> NDArray[np.float32]:
        """What a network reads: -1..1 per choice where options are ordered, else `one_hot`."""
        if self.ordered:
            return np.asarray(2 * designs / np.maximum(np.array(self.sizes) - 1, 1) - 1, np.float32)
        return self.one_hot(designs)

    def one_hot(self, designs: Designs) -> NDArray[np.float32]:
        """`(n, sum(sizes))`: one column per option; all zero for a choice inside a block that is left out."""
        sizes = np.array(self.sizes)
        columns = np.zeros((len(designs), int(sizes.sum())), np.float32)
        np.put_along_axis(columns, designs + np.cumsum(sizes) - sizes, 1, 1)
        gates = self.gates
        return columns if gates is None else columns * (columns @ gates[0] + gates[1])

    @property
    def gates(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Which columns others switch off: `(columns, columns)` and `(columns,)`, or None.

        Of plain one-hot columns x, `x * (x @ gates[0] + gates[1])` are those of the settled design; it is linear so
        that it also holds for probabilities.
        """
        return None


def option(what: str, got: object, known: "tuple[Any, ...] | list[Any]") -> int:
    """Place of a value among the options of one choice.

    Raises:
        BadValue: If it is none of them.
    """
    if got not in known:
        raise BadValue(
            what, got, f"one of {', '.join(map(str, known[:12]))}{' ...' if len(known) > 12 else ''}"
        )
    return list(known).index(got)


def row(values: "list[int]") -> Designs:
    """`(g,)` int64."""
    return np.array(values, np.int64)
