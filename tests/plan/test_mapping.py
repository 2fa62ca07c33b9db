# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeshift.plan import SOLVERS
from edgeshift.plan.problem import Cost, Parts, Problem
from edgeshift.plan.spaces.layers import Layers

SPACE = Layers(("a", "b", "c", "d"), (tuple("uvwxyz"),))
PLACES = np.arange(4)


def mapping(seed: int, *, changes: float) -> Problem:
    """4 layers of 6 options; `changes` = cost of two neighbours that differ. A tenth of the designs fits."""
    rng = np.random.default_rng(seed)
    gains, costs = rng.uniform(-1, 0, (4, 6)), rng.uniform(0, 1, (4, 6))

    def gain(designs: np.ndarray) -> np.ndarray:
        return gains[PLACES, designs].sum(1)

    def cost(designs: np.ndarray) -> np.ndarray:
        return costs[PLACES, designs].sum(1) + changes * (designs[:, 1:] != designs[:, :-1]).sum(1)

    limit = float(np.quantile(cost(SPACE.every()), 0.1))
    parts = Parts(tuple(gains), (tuple(costs),), (0.0, 0.0))
    return Problem(SPACE, gain, (Cost("latency", cost, limit),), None if changes else parts)


@pytest.mark.parametrize("seed", range(8))
def test_the_search_finds_the_best_mapping_where_neighbours_cost(seed: int) -> None:
    problem = mapping(seed, changes=0.1)
    assert SOLVERS.make("search").solve(problem, seed).gain == SOLVERS.make("scan").solve(problem).gain


@pytest.mark.parametrize("seed", range(8))
def test_the_knapsack_finds_the_best_mapping_of_sums_and_the_rules_keep_the_limit(seed: int) -> None:
    problem = mapping(seed, changes=0.0)
    best = SOLVERS.make("scan").solve(problem).gain
    ruled = SOLVERS.make("rules").solve(problem)
    assert SOLVERS.make("knapsack").solve(problem).gain == pytest.approx(best)
    assert ruled.met
    assert ruled.gain <= best
