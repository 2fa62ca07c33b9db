# SPDX-License-Identifier: Apache-2.0
"""Multiple-choice knapsack: the optimum where gain and costs are sums over choices."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue, NotInstalled
from edgeshift.plan.problem import Answer, Parts, Problem, answer
from edgeshift.plan.solvers.shape import Solver

# Shares of a limit: above HiGHS' primal tolerance of 1e-7 for every sum of up to a few hundred parts.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Knapsack(Solver):
    """An integer programme solved by HiGHS: one 0/1 variable per option, one row per choice and per limit.

    Where no design keeps the limits, a second programme finds the one with the least sum of shares over them.

    Attributes:
        gap: Relative gap to the proven bound at which it stops; 0 = the optimum.
        seconds: Longest time for one programme.
    """

    card: ClassVar[Card] = Card(
        name="knapsack",
        says="The optimum by integer programming where gain and costs are sums over choices.",
        paper="Huangfu & Hall, 2018 (HiGHS)",
        link="https://doi.org/10.1007/s12532-017-0130-5",
    )

    gap: float = 0.0
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.gap < 0 or self.seconds <= 0:
            raise BadValue("gap and seconds", (self.gap, self.seconds), "0 or more, and above 0")

    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """See `Solver.solve`; needs `problem.parts`. The seed changes nothing."""
        parts = problem.check().parts
        if parts is None:
            raise BadValue(
                "parts", None, "given: the knapsack takes gains and costs that are sums over choices"
            )
        # The programme counts a limit as kept up to its own tolerance; what is over by that is asked for again.
        for slack in (0.0, ROUNDING):
            chosen = self._programme(problem, parts, slack)
            if chosen is None:
                break
            found = answer(problem, problem.judge(problem.space.settle(chosen[None])), 1)
            if found.met:
                return found
        chosen = self._programme(problem, parts, None)
        if chosen is None:
            raise BadValue("seconds", self.seconds, "enough for the solver to find a design")
        return answer(problem, problem.judge(problem.space.settle(chosen[None])), 1)

    def _programme(self, problem: Problem, parts: Parts, slack: float | None) -> Any:
        """The chosen row, or None where there is none inside the limits less `slack`; None asks for the nearest."""
        nearest = slack is None
        try:
            from scipy.optimize import Bounds, LinearConstraint, milp
        except ImportError as error:
            raise NotInstalled("scipy", "derive") from error
        sizes = np.array(problem.space.sizes)
        n, limits = int(sizes.sum()), [c.limit for c in problem.costs]
        bound = [i for i, limit in enumerate(limits) if np.isfinite(limit)]
        extra = len(bound) if nearest else 0
        one_each = np.zeros((len(sizes), n + extra))
        for i, (start, size) in enumerate(zip(np.cumsum(sizes) - sizes, sizes, strict=True)):
            one_each[i, start : start + size] = 1
        rows = [LinearConstraint(one_each, 1, 1)]
        for k, i in enumerate(bound):
            scale = max(abs(limits[i]), 1e-12)
            line = np.zeros(n + extra)
            line[:n] = np.concatenate(parts.costs[i]) / scale
            if nearest:
                line[n + k] = -1  # the share over this limit
            rows.append(
                LinearConstraint(line, -np.inf, (limits[i] - parts.base[i + 1]) / scale - (slack or 0))
            )
        goal = np.concatenate([np.zeros(n), np.ones(extra)]) if nearest else -np.concatenate(parts.gains)
        found = milp(
            goal,
            constraints=rows,
            integrality=np.concatenate([np.ones(n), np.zeros(extra)]),
            bounds=Bounds(np.zeros(n + extra), np.concatenate([np.ones(n), np.full(extra, np.inf)])),
            options={"mip_rel_gap": self.gap, "time_limit": self.seconds},
        )
        if found.x is None:
            return None
        starts = np.cumsum(sizes) - sizes
        return np.array(
            [int(np.argmax(found.x[s : s + k])) for s, k in zip(starts, sizes, strict=True)], np.int64
        )
