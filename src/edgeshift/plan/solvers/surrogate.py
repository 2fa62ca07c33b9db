# SPDX-License-Identifier: Apache-2.0
"""Self-directed online learning: a model proposes, the true objective answers, the model learns."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.net import Fitting, Net, fit, fresh
from edgeshift.plan.problem import Answer, Judged, Problem, answer
from edgeshift.plan.process import smooth_mean
from edgeshift.plan.solvers.shape import Solver
from edgeshift.plan.spaces.shape import Designs, Floats

MODELS = ("process", "network")


@dataclass(frozen=True)
class Surrogate(Solver):
    """For gains that are slow to compute: SOLO's loop.

    Fit a model to every figure seen; optimise it, not the truth; look at the truth at the predicted optima and at
    disturbances of them; add to the data and repeat, so that the data gather where the optimum is predicted.

    Off the paper: the model is a Gaussian process unless a network is asked for, since with a few hundred figures it
    comes much nearer the optimum (bench/records/plan_cantilever); its fit takes the cube of the budget, so thousands
    of evaluations want the network. A few small networks are averaged in place of one large one with dropout. The
    heuristic on the model is hill climbing from several starts, not annealing; the limits' costs are taken as they
    are, since a device's limits are predicted in microseconds, and only the gain is learnt. The logarithm of a gain
    that has one sign is learnt, since gains near the optimum then differ visibly.

    Attributes:
        model: "process" or "network".
        initial: Random designs to begin with.
        budget: True evaluations in all.
        batch: True evaluations per round.
        hidden: Widths of the networks; this and the next two are for "network".
        networks: How many are averaged.
        epochs: Passes over the data before the first round; a quarter of them in each later one.
        starts: Independent searches on the model per round, each of which proposes its optima.
        climb: Steps of such a search.
    """

    card: ClassVar[Card] = Card(
        name="surrogate",
        says="A model proposes designs, the true gain answers, the model learns: few true evaluations.",
        paper="Deng et al., Nature Communications 2022 (SOLO)",
        link="https://arxiv.org/abs/2002.01927",
        needs="measurements",
    )

    model: str = "process"
    initial: int = 60
    budget: int = 600
    batch: int = 20
    hidden: tuple[int, ...] = (128, 64)
    networks: int = 3
    epochs: int = 400
    starts: int = 4
    climb: int = 240

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise BadValue("model", self.model, f"one of {', '.join(MODELS)}")
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
        inputs = problem.space.numbers(seen.designs[:1]).shape[1]
        networks = self.networks if self.model == "network" else 0
        nets = [fresh((inputs, *self.hidden, 1), rng) for _ in range(networks)]
        epochs = self.epochs
        while len(seen.gains) < self.budget:
            nets, guess = self._learnt(problem, seen, nets, epochs, rng)
            epochs = max(
                1, self.epochs // 4
            )  # what follows is a little more data for networks that are fitted
            proposals = _unseen(self._proposals(guess, seen, rng), seen)[: self.budget - len(seen.gains)]
            if not len(proposals):  # the space, or all of it that can be reached, is known
                break
            seen = seen.joined(problem.judge(proposals))
        return answer(problem, seen, len(seen.gains))

    def _proposals(self, guess: Problem, seen: Judged, rng: np.random.Generator) -> Designs:
        """Half the batch from the model's optima, the other half disturbances of the best designs seen."""
        best = seen.take(seen.order()[: 2 * self.starts]).designs
        optima = _unseen(self._climbed(guess, best, rng), seen)[: self.batch // 2]
        space, n = guess.space, 8 * self.batch
        parents = np.concatenate([optima, best])
        mutants = space.mutate(parents[rng.integers(0, len(parents), n)], 0.04, rng)
        mixed = space.crossover(
            parents[rng.integers(0, len(parents), n)], best[rng.integers(0, len(best), n)], rng
        )
        near = guess.judge(_unseen(np.concatenate([mutants, mixed]), seen))
        wild = space.sample(max(1, self.batch // 20), rng)
        chosen = np.concatenate([optima, near.designs[near.order()[: self.batch]]])
        return np.concatenate([chosen[: self.batch - len(wild)], wild])

    def _climbed(self, guess: Problem, starts: Designs, rng: np.random.Generator) -> Designs:
        """`(n, g)` the best designs under the model, each start followed on its own."""
        space, lines = guess.space, []
        for start in np.array_split(starts, min(self.starts, len(starts))):
            pool = guess.judge(start)
            for _ in range(self.climb):
                parents = pool.designs
                rate = float(rng.choice((0.0, 0.03, 0.1)))
                children = space.mutate(parents[rng.integers(0, len(parents), 40)], rate, rng)
                pool = pool.joined(guess.judge(children))
                pool = pool.take(pool.order()[:8])
            lines.append(pool.designs[: max(1, self.batch // (2 * self.starts))])
        return np.concatenate(lines)

    def _learnt(
        self, problem: Problem, seen: Judged, nets: list[Net], epochs: int, rng: np.random.Generator
    ) -> tuple[list[Net], Problem]:
        """The networks, if any, after more training, and the problem with the model's word in place of the gain."""
        x, gains = problem.space.numbers(seen.designs), seen.gains
        one_sign = (gains > 0).all() or (gains < 0).all()
        y = np.sign(gains[0]) * np.log(np.abs(gains)) if one_sign else gains
        if self.model == "process":
            mean = smooth_mean(x.astype(float), y)
            return nets, replace(
                problem,
                gain=lambda d: mean(problem.space.numbers(d).astype(float)),
                parts=None,
                starts=None,
            )
        middle, spread = float(np.median(y)), max(float(y.std()), 1e-12)
        target = ((y - middle) / spread).astype(np.float32)[:, None]
        fitted = [fit(net, x, target, Fitting(epochs=epochs), rng) for net in nets]

        def predict(designs: Designs) -> Floats:
            numbers = problem.space.numbers(designs)
            return np.asarray(np.mean([net(numbers)[:, 0] for net in fitted], axis=0, dtype=np.float64))

        return fitted, replace(problem, gain=predict, parts=None, starts=None)


def _unseen(designs: Designs, seen: Judged) -> Designs:
    """Those that were not looked at, each once, in their order."""
    known = {design.tobytes() for design in seen.designs}
    kept = []
    for design in designs:
        if design.tobytes() not in known:
            known.add(design.tobytes())
            kept.append(design)
    return np.array(kept, np.int64).reshape(len(kept), designs.shape[1])
