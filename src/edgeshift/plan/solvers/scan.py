# SPDX-License-Identifier: Apache-2.0
"""Look at every design: exact on spaces of up to five million."""

from dataclasses import dataclass
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.plan.problem import CHUNK, Answer, Problem, answer
from edgeshift.plan.solvers.shape import Solver


@dataclass(frozen=True)
class Scan(Solver):
    """Every design of the space, a chunk at a time; the optimum, or the nearest to the limits."""

    card: ClassVar[Card] = Card(
        name="scan",
        says="Every design of a small space: the optimum.",
        paper="house rule",
    )

    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """See `Solver.solve`; the seed changes nothing."""
        designs = problem.check().space.every()
        best = None
        for start in range(0, len(designs), CHUNK):
            judged = problem.judge(designs[start : start + CHUNK])
            judged = judged.take(judged.order()[:1])
            best = judged if best is None else best.joined(judged)
        assert best is not None  # a space has at least one design
        return answer(problem, best, len(designs))
