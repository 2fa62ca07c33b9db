# SPDX-License-Identifier: Apache-2.0
"""Self-directed online learning on a finite-element problem: the stiffest 6x6 cantilever of half the material.

    python examples/cantilever.py [--budget 200] [--seed 0]

The left edge is clamped, a unit force pulls at the middle of the right edge, and each of 36 cells has a density in
0..1 (steps of 1/100) with a mean of 1/2. Stiffness grows with the cube of the density (SIMP). The solver never sees a
derivative: it asks for the compliance of whole designs, `--budget` times.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeshift.plan import SOLVERS, SPACES
from edgeshift.plan.problem import Problem

SIDE = 6
FIRST = 60  # random designs that the surrogate begins with
SPACE = SPACES.make("grid", cells=SIDE * SIDE, steps=100, mean=0.5)
POWER, SOFTEST, POISSON = 3.0, 1e-3, 0.3


def stiffness() -> NDArray[np.float64]:
    """`(8, 8)` stiffness of a square cell of four nodes in plane stress, Young's modulus 1."""
    v = POISSON
    k = np.array(
        [1 / 2 - v / 6, 1 / 8 + v / 8, -1 / 4 - v / 12, -1 / 8 + 3 * v / 8,
         -1 / 4 + v / 12, -1 / 8 - v / 8, v / 6, 1 / 8 - 3 * v / 8]
    )  # fmt: skip
    order = [
        [0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 7, 6, 5, 4, 3, 2], [2, 7, 0, 5, 6, 3, 4, 1], [3, 6, 5, 0, 7, 2, 1, 4],
        [4, 5, 6, 7, 0, 1, 2, 3], [5, 4, 3, 2, 1, 0, 7, 6], [6, 3, 4, 1, 2, 7, 0, 5], [7, 2, 1, 4, 3, 6, 5, 0],
    ]  # fmt: skip
    return k[np.array(order)] / (1 - v**2)


CELL = stiffness()
NODES = np.arange((SIDE + 1) ** 2).reshape(SIDE + 1, SIDE + 1)  # [column, row from the top]


def places() -> NDArray[np.int64]:
    """`(36, 8)`: the two displacements of each cell's nodes, lower left first, against the clock."""
    found = []
    for x in range(SIDE):
        for y in range(SIDE):
            corners = [NODES[x, y + 1], NODES[x + 1, y + 1], NODES[x + 1, y], NODES[x, y]]
            found.append([2 * c + d for c in corners for d in (0, 1)])
    return np.array(found)


PLACES = places()
FREE = np.setdiff1d(np.arange(2 * NODES.size), [2 * n + d for n in NODES[0] for d in (0, 1)])
FORCE = np.zeros(2 * NODES.size)
FORCE[2 * NODES[SIDE, SIDE // 2] + 1] = -1


def displacements(density: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(98,)` where each node moves for 36 densities."""
    young = SOFTEST + density**POWER * (1 - SOFTEST)
    whole = np.zeros((len(FORCE), len(FORCE)))
    for cell, modulus in zip(PLACES, young, strict=True):
        whole[np.ix_(cell, cell)] += modulus * CELL
    moved = np.zeros(len(FORCE))
    moved[FREE] = np.linalg.solve(whole[np.ix_(FREE, FREE)], FORCE[FREE])
    return moved


def compliance(density: NDArray[np.float64]) -> float:
    """Force times displacement: less is stiffer."""
    return float(FORCE @ displacements(density))


class Counted:
    """The negative compliance of designs, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, designs: NDArray[np.int64]) -> NDArray[np.float64]:
        """`(n,)`."""
        self.calls += len(designs)
        return np.array([-compliance(design / SPACE.steps) for design in designs])


def reference(rounds: int = 200) -> float:
    """The optimality-criteria method, which does use derivatives: what the others are measured against."""
    density = np.full(SIDE * SIDE, 0.5)
    for _ in range(rounds):
        moved = displacements(density)[PLACES]
        energy = np.einsum("ni,ij,nj->n", moved, CELL, moved)
        slope = POWER * density ** (POWER - 1) * (1 - SOFTEST) * energy
        low, high = 1e-9, 1e9
        while high / low > 1 + 1e-6:
            middle = (low * high) ** 0.5
            wanted = np.clip(density * np.sqrt(slope / middle), density - 0.2, density + 0.2).clip(1e-3, 1)
            low, high = (middle, high) if wanted.mean() > 0.5 else (low, middle)
        density = wanted
    return compliance(density)


def picture(design: NDArray[np.int64]) -> str:
    """The densities as shades, the clamped edge on the left."""
    shades = " .:-=+*#%@"
    columns = (design.reshape(SIDE, SIDE) * (len(shades) - 1) // SPACE.steps).T
    return "\n".join("|" + "".join(2 * shades[k] for k in line) for line in columns)


def solved(
    solver: str, budget: int, seed: int, **more: object
) -> tuple[float, int, NDArray[np.int64], float]:
    """Compliance, evaluations, design and seconds of one solver; `more` are options of it."""
    gain = Counted()
    options: dict[str, dict[str, object]] = {
        "surrogate": {"initial": FIRST, "budget": budget},
        # Direct search with the same moves; best of populations 10..40 and rates 0.05 and 0.1 on other seeds.
        "evolution": {"population": 20, "rounds": (budget - 20) // 20, "rate": 0.1},
    }
    start = time.perf_counter()
    found = SOLVERS.make(solver, **options[solver], **more).solve(Problem(SPACE, gain), seed)
    return -found.gain, gain.calls, found.design, time.perf_counter() - start


def main(show: Callable[[str], None] = print) -> None:
    """Solve it both ways and show the designs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    if words.budget < FIRST:
        parser.error(f"--budget must be at least {FIRST}, got {words.budget}")
    show(f"uniform: {compliance(np.full(SIDE * SIDE, 0.5)):.2f}; with derivatives: {reference():.2f}")
    for solver in ("evolution", "surrogate"):
        value, calls, design, seconds = solved(solver, words.budget, words.seed)
        show(f"{solver}: {value:.2f} after {calls} evaluations, {seconds:.1f} s\n{picture(design)}")


if __name__ == "__main__":
    main()
