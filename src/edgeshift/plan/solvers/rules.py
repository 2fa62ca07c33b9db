# SPDX-License-Identifier: Apache-2.0
"""Map an option to each choice by rule, from costs alone: as fine as a tolerance on the cheapest allows."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.problem import Answer, Parts, Problem, answer
from edgeshift.plan.solvers.shape import Solver
from edgeshift.plan.spaces.shape import Designs


@dataclass(frozen=True)
class Rules(Solver):
    """Per choice the option that gains most among those within a tolerance of the cheapest.

    The published rule takes, for each layer, the finest structure whose time in the table is within a fixed
    tolerance of the coarsest one's. Here the tolerance is the largest of a list with which the limits hold, so that
    a budget can be asked for; no design is tried out.

    Attributes:
        tolerances: Shares over the cheapest option, tried from the largest; the paper's own is 0.2.
    """

    card: ClassVar[Card] = Card(
        name="rules",
        says="Per layer the best option within a tolerance of the cheapest, from the cost table alone.",
        paper="Gong et al., 2021",
        link="https://arxiv.org/abs/2111.11581",
    )

    tolerances: tuple[float, ...] = (
        1e9, 16, 8, 6, 4, 3, 2.5, 2, 1.6, 1.3, 1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.tolerances or min(self.tolerances) < 0:
            raise BadValue("tolerances", self.tolerances, "0 or more, at least one")

    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """See `Solver.solve`; needs `problem.parts`. The seed changes nothing."""
        parts = problem.check().parts
        if parts is None:
            raise BadValue("parts", None, "given: rules read gains and costs per choice")
        rows = np.array(
            [self._mapped(problem, parts, t) for t in sorted(self.tolerances, reverse=True)], np.int64
        )
        judged = problem.judge(problem.space.settle(rows))
        kept = np.flatnonzero(judged.excess == 0)
        if len(kept):  # the largest tolerance that keeps the limits
            judged = judged.take(kept[:1])
        return answer(problem, judged, len(rows))

    def _mapped(self, problem: Problem, parts: Parts, tolerance: float) -> Designs:
        limits = [abs(c.limit) if np.isfinite(c.limit) else np.inf for c in problem.costs]
        design = []
        for i, gains in enumerate(parts.gains):
            # Several costs count by their share of the limit.
            shares = [
                np.asarray(c[i]) / max(limit, 1e-12) for c, limit in zip(parts.costs, limits, strict=True)
            ]
            cost = np.sum(shares, axis=0) if shares else np.zeros(len(gains))
            inside = cost <= cost.min() + tolerance * abs(cost.min()) + 1e-15
            design.append(int(np.lexsort((cost, np.where(inside, -gains, np.inf)))[0]))
        return np.array(design, np.int64)
