# SPDX-License-Identifier: Apache-2.0
"""Self-directed online learning: a network proposes, the true objective answers, the network learns."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.net import Fitting, Net, fit, fresh
from edgeshift.plan.problem import Answer, Function, Judged, Problem, answer
from edgeshift.plan.solvers.shape import Solver
from edgeshift.plan.spaces.shape import Designs, Floats


@dataclass(frozen=True)
class Surrogate(Solver):
    """For gains that are slow to compute: SOLO's loop.

    Fit networks to every figure seen; optimise them, not the truth; look at the truth at the predicted optima and
    at disturbances of them; add to the data and repeat, so that the data gather where the optimum is predicted.

    Off the paper: the heuristic on the network is evolution with steps, not annealing; a few small networks
    are averaged in place of one large one with dropout; the limits' costs are taken as they are, since a
    device's limits are predicted in microseconds, and only the gain is learnt. The logarithm of a gain that has
    one sign is learnt, since gains near the optimum then differ visibly.

    Attributes:
        initial: Random designs to begin with.
        budget: True evaluations in all.
        batch: True evaluations per round.
        hidden: Widths of the networks.
        networks: How many are averaged.
        epochs: Passes over the data per round.
        starts: Independent searches on the networks per round, each of which proposes its optimum.
    """

    card: ClassVar[Card] = Card(
        name="surrogate",
        says="A network proposes designs, the true gain answers, the network learns: few true evaluations.",
        paper="Deng et al., Nature Communications 2022 (SOLO)",
        link="https://arxiv.org/abs/2002.01927",
        needs="measurements",
    )

    initial: int = 60
    budget: int = 600
    batch: int = 20
    hidden: tuple[int, ...] = (128, 64)
    networks: int = 3
    epochs: int = 60
    starts: int = 6

    def __post_init__(self) -> None:
        if not (2 <= self.initial <= self.budget and 1 <= self.starts <= self.batch):
            got = (self.initial, self.budget, self.starts, self.batch)
            raise BadValue(
                "initial, budget, starts, batch", got, "2 <= initial <= budget, 1 <= starts <= batch"
            )
        if self.networks < 1 or self.epochs < 1 or not self.hidden:
            raise BadValue(
                "networks, epochs, hidden", (self.networks, self.epochs, self.hidden), "at least one"
            )

    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """See `Solver.solve`; every evaluation of the gain counts, accepted or not."""
        rng = np.random.default_rng(seed)
        first = problem.check().space.sample(self.initial, rng)
        if problem.starts is not None:
            first = np.concatenate([problem.starts, first])[: self.initial]
        seen = problem.judge(np.unique(first, axis=0))
        while len(seen.gains) < self.budget:
            proposals = self._proposals(problem, seen, rng)
            proposals = _unseen(proposals, seen)[: self.budget - len(seen.gains)]
            if not len(proposals):  # the space, or all of it that can be reached, is known
                break
            seen = seen.joined(problem.judge(proposals))
        return answer(problem, seen, len(seen.gains))

    def _proposals(self, problem: Problem, seen: Judged, rng: np.random.Generator) -> Designs:
        """The networks' optima first, then disturbances of them and of the best design seen."""
        predict = self._learnt(problem, seen, rng)
        guess = replace(problem, gain=predict, parts=None)
        best = seen.take(seen.order()[: 4 * self.starts])
        optima = [self._climbed(guess, best.designs, rng) for _ in range(self.starts)]
        around = np.concatenate([*optima, best.designs[:2]])
        places = rng.integers(0, len(around), 4 * self.batch)
        disturbed = problem.space.mutate(around[places], float(rng.choice((0.02, 0.1, 0.2))), rng)
        mixed = problem.space.crossover(around[places[: self.batch]], around[places[-self.batch :]], rng)
        near = guess.judge(_unseen(np.concatenate([disturbed, mixed]), seen))
        far = problem.space.sample(max(1, self.batch // 10), rng)
        chosen = near.designs[near.order()[: self.batch - len(far)]]
        wanted = np.concatenate([_unseen(np.concatenate(optima), seen), chosen])[: self.batch - len(far)]
        return np.concatenate([wanted, far])

    def _climbed(self, guess: Problem, starts: Designs, rng: np.random.Generator) -> Designs:
        """`(1, g)`: the optimum of the networks that one evolution finds."""
        from edgeshift.plan import SOLVERS

        part = starts[rng.integers(0, len(starts), max(1, len(starts) // 2))]
        evolution = SOLVERS.make("evolution", population=60, rounds=25, rate=0.06)
        found: Answer = evolution.solve(replace(guess, starts=part), int(rng.integers(2**31)))
        return found.design[None]

    def _learnt(self, problem: Problem, seen: Judged, rng: np.random.Generator) -> Function:
        x = problem.space.numbers(seen.designs)
        gains = seen.gains
        one_sign = (gains > 0).all() or (gains < 0).all()
        y = np.sign(gains[0]) * np.log(np.abs(gains)) if one_sign else gains
        middle, spread = float(np.median(y)), max(float(y.std()), 1e-12)
        target = ((y - middle) / spread).astype(np.float32)[:, None]
        nets: list[Net] = []
        for _ in range(self.networks):
            net = fresh((x.shape[1], *self.hidden, 1), rng)
            nets.append(fit(net, x, target, Fitting(epochs=self.epochs), rng))

        def predict(designs: Designs) -> Floats:
            numbers = problem.space.numbers(designs)
            return np.asarray(np.mean([net(numbers)[:, 0] for net in nets], axis=0, dtype=np.float64))

        return predict


def _unseen(designs: Designs, seen: Judged) -> Designs:
    """Those that were not looked at, each once, in their order."""
    known = {design.tobytes() for design in seen.designs}
    kept = []
    for design in designs:
        if design.tobytes() not in known:
            known.add(design.tobytes())
            kept.append(design)
    return np.array(kept, np.int64).reshape(len(kept), designs.shape[1])
