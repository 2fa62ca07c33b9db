# SPDX-License-Identifier: Apache-2.0
"""What all solvers promise, on three layers of three options whose 27 designs are all known."""

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest

from edgeshift.core.errors import NotFinite
from edgeshift.plan import SOLVERS
from edgeshift.plan.problem import Answer, Cost, Parts, Problem
from edgeshift.plan.solvers.shape import Solver
from edgeshift.plan.spaces.table import Table
from tests.plan.made import BYTES, GAINS, SPACE, TIMES, problem

NAMES = SOLVERS.names()
EXACT = ("scan", "knapsack")
# Small enough for a test; every other option is the plug-in's own.
QUICK: dict[str, dict[str, Any]] = {
    "evolution": {"population": 20, "rounds": 10},
    "surrogate": {"initial": 8, "budget": 24, "batch": 8, "starts": 2, "epochs": 5, "hidden": (8,)},
    "neural_optimizer": {"steps": 12, "samples": 40, "epochs": 2, "hidden": 8, "levels": 4},
    "search": {"rounds": 20},
}
BOUNDS = [(np.inf, np.inf), (10.0, np.inf), (8.0, 20.0), (4.0, np.inf), (16.0, 31.0)]


def solver(name: str) -> Solver:
    made: Solver = SOLVERS.make(name, **QUICK.get(name, {}))
    return made


@cache
def solved(name: str, time: float, size: float, seed: int = 0) -> Answer:
    """The answer to the small problem; several tests look at the same one."""
    return solver(name).solve(problem(time, size), seed)


def known(time: float, size: float) -> list[tuple[float, float]]:
    """`(excess, -gain)` of all 27 designs, the best first."""
    found = []
    for i, j, k in itertools.product(range(3), repeat=3):
        ms = 1 + TIMES[0][i] + TIMES[1][j] + TIMES[2][k]
        kept = 4 + BYTES[0][i] + BYTES[1][j] + BYTES[2][k]
        over = max(0, ms / time - 1) + max(0, kept / size - 1)
        found.append((over, -(90 + GAINS[0][i] + GAINS[1][j] + GAINS[2][k])))
    return sorted(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("time", "size"), BOUNDS)
def test_a_limit_is_kept_or_named(name: str, time: float, size: float) -> None:
    found = solved(name, time, size)
    truth = {"latency": found.costs["latency"] > time, "size": found.costs["size"] > size}
    assert set(found.broken) == {limit for limit, over in truth.items() if over}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("time", "size"), BOUNDS)
def test_the_figures_are_those_of_the_design(name: str, time: float, size: float) -> None:
    asked = problem(time, size)
    found = solved(name, time, size)
    assert SPACE.check(found.design[None]).all()
    assert found.gain == asked.gain(found.design[None])[0]
    assert [found.costs[c.name] for c in asked.costs] == [c.of(found.design[None])[0] for c in asked.costs]


@pytest.mark.parametrize("name", NAMES)
def test_without_limits_the_best_design_is_found(name: str) -> None:
    found = solved(name, np.inf, np.inf)
    assert (found.met, found.gain) == (True, 90.0)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("time", "size"), BOUNDS)
def test_an_exact_solver_finds_the_optimum_or_the_nearest(name: str, time: float, size: float) -> None:
    found = solved(name, time, size)
    excess, loss = known(time, size)[0]
    over = max(0, found.costs["latency"] / time - 1) + max(0, found.costs["size"] / size - 1)
    assert over == pytest.approx(excess)
    assert found.met == (excess == 0)
    if found.met:
        assert found.gain == pytest.approx(-loss)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_answers(name: str) -> None:
    one, other = (solver(name).solve(problem(9.0, 18.0), seed=5) for _ in range(2))
    assert (one.design == other.design).all()
    assert (one.gain, one.costs, one.broken, one.evaluations) == (
        other.gain,
        other.costs,
        other.broken,
        other.evaluations,
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_about_whole_designs_only(name: str) -> None:
    asked = problem(9.0)
    strange: list[int] = []

    def watched(designs: np.ndarray) -> np.ndarray:
        strange.append(int((~SPACE.check(designs)).sum()))
        return asked.gain(designs)

    solver(name).solve(Problem(SPACE, watched, asked.costs, asked.parts))
    assert sum(strange) == 0
    assert strange


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_that_is_no_number_is_refused(name: str) -> None:
    asked = problem(9.0)
    nothing = Cost("latency", lambda designs: np.full(len(designs), np.nan), 9.0)
    with pytest.raises(NotFinite, match="must be numbers for every design, got NaN"):
        solver(name).solve(Problem(SPACE, asked.gain, (nothing, asked.costs[1]), asked.parts))


@pytest.mark.parametrize("name", NAMES)
def test_a_single_design_is_the_answer(name: str) -> None:
    parts = Parts((np.array([7.0]),), ((np.array([3.0]),),), (0.0, 0.0))
    only = Problem(Table(1), parts.gain, (Cost("latency", lambda d: parts.cost(0, d), 2.0),), parts)
    found: Answer = solver(name).solve(only)
    assert (found.design.tolist(), found.broken) == ([0], ("latency",))
