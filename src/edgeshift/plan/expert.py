# SPDX-License-Identifier: Apache-2.0
"""Evolution for many limits of one device at once: what the neural optimizer learns from, and its library."""

from dataclasses import dataclass

import numpy as np

from edgeshift.plan.neural import Family
from edgeshift.plan.spaces.shape import Designs, Floats, Space


@dataclass
class Elites:
    """The best design known under each of some limits of one device.

    Attributes:
        row: `(k,)` descriptor of the device.
        limits: `(r, c)` in standard units.
        designs: `(r, g)`; only where `gains` is finite.
        gains: `(r,)`; -inf = nothing is known to keep the limit.
        costs: `(r, c)` of those designs.
    """

    row: Floats
    limits: Floats
    designs: Designs
    gains: Floats
    costs: Floats

    @staticmethod
    def none(row: Floats, limits: Floats, space: Space) -> "Elites":
        """Nothing is known."""
        r, c = limits.shape
        empty = np.zeros((r, len(space.sizes)), np.int64)
        return Elites(row, limits, empty, np.full(r, -np.inf), np.full((r, c), np.inf))

    def update(self, family: Family, designs: Designs) -> None:
        """Look at some designs; each takes the places under whose limits it is better than what is there."""
        repeated = np.broadcast_to(self.row, (len(designs), len(self.row)))
        costs = np.stack([np.asarray(cost(designs, repeated), float) for cost in family.costs], 1)
        gains = np.asarray(family.gain(designs), float)
        inside = (costs[None] <= self.limits[:, None]).all(2)
        ranked = np.where(inside, gains, -np.inf)
        best = ranked.argmax(1)
        value = ranked[np.arange(len(self.limits)), best]
        better = value > self.gains
        self.designs[better], self.gains[better] = designs[best[better]], value[better]
        self.costs[better] = costs[best[better]]

    def known(self) -> Designs:
        """`(n, g)` the distinct designs."""
        return np.asarray(np.unique(self.designs[np.isfinite(self.gains)], axis=0))


def improve(elites: Elites, family: Family, rounds: int, children: int, rng: np.random.Generator) -> None:
    """Rounds of evolution: children of the elites, those of near limits crossed, all limits served at once.

    A population per limit would look at each design for one limit only; here one design may be the best under many
    (quality diversity, Mouret & Clune, 2015, https://arxiv.org/abs/1504.04909, with the limits as the bins).
    """
    space = family.space
    if not np.isfinite(elites.gains).any():
        elites.update(family, space.sample(4 * children, rng))
    for _ in range(rounds):
        places = np.flatnonzero(np.isfinite(elites.gains))
        if not len(places):
            elites.update(family, space.sample(4 * children, rng))
            continue
        half = children // 2
        one = rng.integers(0, len(places), half)
        near = np.clip(one + rng.integers(-3, 4, half), 0, len(places) - 1)
        mixed = space.crossover(elites.designs[places[one]], elites.designs[places[near]], rng)
        chosen = places[rng.integers(0, len(places), children - half)]
        # From single edits, which end the search, to one choice in six, which leaves a local optimum.
        rate = float(rng.choice((0.0, 0.03, 0.08, 0.16)))
        mutants = space.mutate(elites.designs[chosen], rate, rng)
        elites.update(family, np.unique(np.concatenate([mixed, mutants]), axis=0))


def library(archives: list[Elites], family: Family, size: int) -> tuple[Designs, Floats]:
    """The `size` designs that serve the devices' limits best together, and their gains.

    Greedy on the mean gain over every device and limit, which is within 1 - 1/e of the best such set (Nemhauser et
    al., 1978, https://doi.org/10.1007/BF01588971).
    """
    designs = np.unique(np.concatenate([a.known() for a in archives]), axis=0)
    gains = np.asarray(family.gain(designs), float)
    offers = []  # (device and limit, design): gain where the design is inside, else the least gain of all
    for archive in archives:
        repeated = np.broadcast_to(archive.row, (len(designs), len(archive.row)))
        costs = np.stack([np.asarray(cost(designs, repeated), float) for cost in family.costs], 1)
        inside = (costs[None] <= archive.limits[:, None]).all(2)
        offers.append(np.where(inside, gains, gains.min()).astype(np.float32))
    table = np.concatenate(offers)
    held = np.full(len(table), gains.min(), np.float32)
    chosen: list[int] = []
    while len(chosen) < min(size, len(designs)):
        rise = np.maximum(table - held[:, None], 0).sum(0)
        rise[chosen] = -1
        best = int(rise.argmax())
        if rise[best] <= 0:
            break
        chosen.append(best)
        held = np.maximum(held, table[:, best])
    return designs[chosen], gains[chosen]
