# SPDX-License-Identifier: Apache-2.0
"""What a solver is given and what it says: a space, what to gain, what it may cost; one design and its figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeshift.core.errors import BadValue, NotFinite
from edgeshift.plan.spaces.shape import Designs, Floats, Space

Function = Callable[[Designs], Floats]

# Designs looked at in one go; 65,536 rows of 46 choices are 24 MB.
CHUNK = 65_536


@dataclass(frozen=True)
class Cost:
    """Something that less of is better, with a ceiling.

    Attributes:
        name: Such as "latency<=20ms"; the solver names it when it cannot be kept.
        of: Designs `(n, g)` -> `(n,)`.
        limit: What it may be at most.
    """

    name: str
    of: Function
    limit: float

    def check(self) -> "Cost":
        """Self, or BadValue."""
        if np.isnan(self.limit):
            raise BadValue(f"limit of {self.name}", self.limit, "a number")
        return self


@dataclass(frozen=True)
class Parts:
    """Gain and costs as sums over choices, for solvers that need that.

    Attributes:
        gains: Per choice, `(size,)`: what each option adds to the gain.
        costs: Per cost and choice, `(size,)`: what each option adds to it.
        base: What is added to the gain and to each cost whatever is chosen: `1 + len(costs)` numbers.
    """

    gains: tuple[Floats, ...]
    costs: tuple[tuple[Floats, ...], ...]
    base: tuple[float, ...]

    def check(self, problem: "Problem") -> "Parts":
        """Self, or BadValue."""
        sizes = problem.space.sizes
        for parts in (self.gains, *self.costs):
            if tuple(len(p) for p in parts) != sizes:
                raise BadValue("parts", tuple(len(p) for p in parts), f"one number for each option, {sizes}")
        if (len(self.costs), len(self.base)) != (len(problem.costs), len(problem.costs) + 1):
            raise BadValue("parts", (len(self.costs), len(self.base)), "one entry per cost")
        return self

    def gain(self, designs: Designs) -> Floats:
        """`(n,)` gains as sums."""
        return self.base[0] + _summed(self.gains, designs)

    def cost(self, place: int, designs: Designs) -> Floats:
        """`(n,)` values of one cost as sums."""
        return self.base[place + 1] + _summed(self.costs[place], designs)


def _summed(parts: tuple[Floats, ...], designs: Designs) -> Floats:
    return np.asarray(np.sum([part[designs[:, i]] for i, part in enumerate(parts)], axis=0))


@dataclass(frozen=True)
class Problem:
    """Gain as much as the limits allow.

    Attributes:
        space: What can be chosen.
        gain: Designs `(n, g)` -> `(n,)`, more is better; accuracy, as a rule.
        costs: Each with its limit.
        parts: Gain and costs as sums over choices, where they are.
        starts: `(n, g)` designs a solver may begin with, or None.
    """

    space: Space
    gain: Function
    costs: tuple[Cost, ...] = ()
    parts: Parts | None = None
    starts: Designs | None = None

    def check(self) -> "Problem":
        """Self, or BadValue."""
        for cost in self.costs:
            cost.check()
        if len({c.name for c in self.costs}) != len(self.costs):
            raise BadValue("costs", [c.name for c in self.costs], "distinct names")
        if self.parts is not None:
            self.parts.check(self)
        if self.starts is not None and not self.space.check(self.starts).all():
            raise BadValue("starts", self.starts.shape, "designs of the space")
        return self

    def judge(self, designs: Designs) -> "Judged":
        """Gains, costs and how far over the limits.

        Raises:
            NotFinite: If a gain is NaN or a cost is NaN.
        """
        gains = np.asarray(self.gain(designs), float)
        costs = np.array([c.of(designs) for c in self.costs], float).reshape(len(self.costs), len(designs))
        if np.isnan(gains).any() or np.isnan(costs).any():
            raise NotFinite("gain and costs must be numbers for every design, got NaN")
        limits = np.array([c.limit for c in self.costs])[:, None]
        over = np.maximum(costs - limits, 0) / np.maximum(np.abs(limits), 1e-12)
        over[np.isinf(limits).repeat(len(designs), 1)] = 0
        return Judged(designs, gains, costs, over)


@dataclass(frozen=True)
class Judged:
    """Designs with their figures.

    Attributes:
        designs: `(n, g)`.
        gains: `(n,)`.
        costs: `(c, n)`.
        over: `(c, n)`: how far over each limit, as a share of the limit; 0 = kept.
    """

    designs: Designs
    gains: Floats
    costs: Floats
    over: Floats

    @property
    def excess(self) -> Floats:
        """`(n,)`: summed over the limits; 0 = all are kept."""
        return np.asarray(self.over.sum(0)) if len(self.over) else np.zeros(len(self.gains))

    def order(self) -> Designs:
        """Places from best to worst: those inside all limits by gain, then the others by excess.

        Feasible first is the rule of NSGA-II (Deb et al., 2002, https://doi.org/10.1109/4235.996017).
        Equals are told apart by cost, then by the design itself, so that the answer does not hang on order.
        """
        keys = [*reversed(self.designs.T), *reversed(self.costs), -self.gains, self.excess]
        return np.lexsort(keys).astype(np.int64)

    def take(self, places: Designs) -> "Judged":
        """Some of them."""
        return Judged(self.designs[places], self.gains[places], self.costs[:, places], self.over[:, places])

    def joined(self, other: "Judged") -> "Judged":
        """These and the others."""
        return Judged(
            np.concatenate([self.designs, other.designs]),
            np.concatenate([self.gains, other.gains]),
            np.concatenate([self.costs, other.costs], 1),
            np.concatenate([self.over, other.over], 1),
        )


@dataclass(frozen=True)
class Answer:
    """What a solver chose.

    Attributes:
        design: `(g,)`.
        gain: What it gains.
        costs: Name of a cost -> its value.
        broken: Names of the costs that are over their limit; () = all limits hold. Otherwise the design is the
            one that the solver found to come nearest: the least sum of shares over the limits.
        evaluations: Designs whose gain and costs were looked at.
        says: What the solver has to tell, one line each.
    """

    design: Designs
    gain: float
    costs: Mapping[str, float]
    broken: tuple[str, ...]
    evaluations: int
    says: tuple[str, ...] = field(default=())

    @property
    def met(self) -> bool:
        """Whether every limit holds."""
        return not self.broken


def answer(problem: Problem, judged: Judged, evaluations: int, says: tuple[str, ...] = ()) -> Answer:
    """The best of some designs as an answer."""
    best = int(judged.order()[0])
    return Answer(
        judged.designs[best],
        float(judged.gains[best]),
        {c.name: float(v) for c, v in zip(problem.costs, judged.costs[:, best], strict=True)},
        tuple(c.name for c, v in zip(problem.costs, judged.over[:, best], strict=True) if v > 0),
        evaluations,
        says,
    )
