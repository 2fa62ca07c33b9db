# SPDX-License-Identifier: Apache-2.0
"""Evolution: parents inside the limits, children by mutation and crossover."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.problem import Answer, Judged, Problem, answer
from edgeshift.plan.solvers.shape import Solver
from edgeshift.plan.spaces.shape import Designs


@dataclass(frozen=True)
class Evolution(Solver):
    """Constrained evolution as once-for-all searches: the best quarter are parents of the next round.

    Half of the children are mutants of one parent, half mix two. Limits come first, as in NSGA-II
    (https://doi.org/10.1109/4235.996017): a design inside them beats one outside. A whole population is judged
    in one call. Children that were seen before are drawn again once, which the papers leave to chance.

    Attributes:
        population: Designs per round.
        rounds: Rounds after the first population.
        parents: Share of the population that has children.
        rate: Probability that a mutation draws a choice again.
        patience: Stop after so many rounds without a better design; 0 = never.
    """

    card: ClassVar[Card] = Card(
        name="evolution",
        says="Evolution inside the limits: the best quarter breeds, half by crossover, half by mutation.",
        paper="Cai et al., ICLR 2020; Deb et al., 2002",
        link="https://arxiv.org/abs/1908.09791",
    )

    population: int = 100
    rounds: int = 100
    parents: float = 0.25
    rate: float = 0.1
    patience: int = 0

    def __post_init__(self) -> None:
        if self.population < 2 or self.rounds < 0 or self.patience < 0:
            raise BadValue("population, rounds and patience", vars(self), "at least 2, 0 and 0")
        if not (0 < self.parents <= 1 and 0 < self.rate <= 1):
            raise BadValue("parents and rate", (self.parents, self.rate), "above 0 and at most 1")

    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """See `Solver.solve`; begins with `problem.starts` where there are some."""
        rng = np.random.default_rng(seed)
        space = problem.check().space
        first = space.sample(self.population, rng)
        if problem.starts is not None:
            first = np.concatenate([problem.starts, first])[: max(self.population, len(problem.starts))]
        pool = problem.judge(np.unique(first, axis=0))
        evaluations, still = len(pool.gains), 0
        for _ in range(self.rounds):
            pool = pool.take(pool.order()[: self.population])
            best = pool.designs[0]
            children = problem.judge(self._children(problem, pool, rng))
            evaluations += len(children.gains)
            pool = pool.joined(children)
            still = 0 if (pool.designs[pool.order()[0]] != best).any() else still + 1
            if self.patience and still >= self.patience:
                break
        return answer(problem, pool, evaluations)

    def _children(self, problem: Problem, pool: Judged, rng: np.random.Generator) -> Designs:
        space = problem.space
        alive = pool.designs[: max(1, round(len(pool.designs) * self.parents))]
        half = self.population // 2
        one, other = (alive[rng.integers(0, len(alive), half)] for _ in range(2))
        mixed = space.crossover(one, other, rng)
        mutants = space.mutate(alive[rng.integers(0, len(alive), self.population - half)], self.rate, rng)
        children = np.unique(np.concatenate([mixed, mutants]), axis=0)
        known = {design.tobytes() for design in pool.designs}
        seen = np.array([child.tobytes() in known for child in children])
        if seen.any():
            again = space.mutate(children[seen], self.rate, rng)
            children = np.unique(np.concatenate([children[~seen], again]), axis=0)
        return children
