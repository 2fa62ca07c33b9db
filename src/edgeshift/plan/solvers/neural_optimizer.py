# SPDX-License-Identifier: Apache-2.0
"""A network that answers with a design, trained through frozen predictors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.neural import DeviceCost, Family, Proposer
from edgeshift.plan.problem import Answer, Cost, Problem, answer
from edgeshift.plan.solvers.shape import Solver
from edgeshift.plan.spaces.shape import Designs, Floats


@dataclass(frozen=True)
class NeuralOptimizer(Solver):
    """Scaling-Up's second approach for one problem: train once, then any limit is one pass and a scoring.

    For many devices train once with `edgeshift.plan.teach` and ask `edgeshift.plan.neural.device_front`; this
    plug-in is the same for a family of one device. Limits and costs are counted in spreads of each cost over random
    designs. `polish` rounds of evolution from the proposed designs may follow.

    Attributes:
        steps: Gradient steps.
        samples: Random designs the predictors are distilled from.
        epochs: Passes over them.
        hidden: Width of the networks.
        heads: Designs per limit.
        levels: Limits in the lattice.
        expert_rounds: Rounds of evolution that show the network what is possible.
        polish: Rounds of evolution from the proposed designs.
        file: A trained optimizer for this space and these costs, from `Proposer.save`; "" trains one.
    """

    card: ClassVar[Card] = Card(
        name="neural_optimizer",
        says="A network that answers with a design for any limit in one pass, trained through predictors.",
        paper="Lu et al., 2020 (Scaling-Up)",
        link="https://arxiv.org/abs/2009.00278",
        needs="training",
    )

    steps: int = 600
    samples: int = 4000
    epochs: int = 20
    hidden: int = 128
    heads: int = 4
    levels: int = 16
    expert_rounds: int = 30
    polish: int = 0
    file: str = ""

    def __post_init__(self) -> None:
        if (
            min(self.steps, self.samples, self.epochs, self.hidden, self.heads) < 1
            or min(self.polish, self.expert_rounds) < 0
        ):
            raise BadValue(
                "steps, samples, epochs, hidden, heads and rounds", vars(self), "from 1, polish from 0"
            )

    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """See `Solver.solve`."""
        from edgeshift.plan.teach import spread_out

        rng = np.random.default_rng(seed)
        seen = problem.check().judge(np.unique(spread_out(problem.space, self.samples, rng), axis=0))
        scales = [(float(c.mean()), max(float(c.std()), 1e-12)) for c in seen.costs]
        if not problem.costs or (all(np.isinf(c.limit) for c in problem.costs) and len(seen.gains) < 2):
            return answer(problem, seen, len(seen.gains))
        proposer = self._proposer(problem, scales, seed)
        limits = np.array([(c.limit - m) / s for c, (m, s) in zip(problem.costs, scales, strict=True)])
        wide = np.where(np.isinf(limits), proposer.lattice.max(0), limits)
        asked = np.concatenate([proposer.lattice, wide[None].astype(np.float32)])
        offers = np.concatenate(
            [proposer.library, problem.space.settle(proposer.propose(np.zeros(0), asked))]
        )
        offers = np.unique(offers, axis=0)
        judged = problem.judge(offers).joined(seen)
        evaluations = len(judged.gains)
        if self.polish:
            from edgeshift.plan import SOLVERS

            starts = judged.take(judged.order()[: 4 * self.heads]).designs
            evolution = SOLVERS.make("evolution", population=60, rounds=self.polish, rate=0.06)
            found: Answer = evolution.solve(replace(problem, starts=np.unique(starts, axis=0)), seed)
            evaluations += found.evaluations
            judged = judged.joined(problem.judge(found.design[None]))
        return answer(problem, judged, evaluations)

    def _proposer(self, problem: Problem, scales: list[tuple[float, float]], seed: int) -> Proposer:
        if self.file:
            proposer = Proposer.load(Path(self.file))
            if (proposer.sizes, proposer.lattice.shape[1]) != (problem.space.sizes, len(problem.costs)):
                raise BadValue(
                    "trained optimizer", proposer.sizes, f"one for {problem.space.sizes} and its costs"
                )
            return proposer
        from edgeshift.plan.teach import Teaching, teach

        costs = tuple(_standard(c, m, s) for c, (m, s) in zip(problem.costs, scales, strict=True))
        family = Family(problem.space, problem.gain, costs, np.zeros((1, 0)))
        teaching = Teaching(
            self.steps, 64, self.hidden, self.heads, self.levels, samples=self.samples, epochs=self.epochs,
            experts=1, expert_rounds=self.expert_rounds, expert_children=60, library=4 * self.levels,
        )  # fmt: skip
        return teach(family, teaching, seed)


def _standard(cost: Cost, middle: float, spread: float) -> DeviceCost:
    def of(designs: Designs, descriptors: Floats) -> Floats:
        return (cost.of(designs) - middle) / spread

    return of
