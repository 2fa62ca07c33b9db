# SPDX-License-Identifier: Apache-2.0
"""Learn which N of every M weights stay: candidates lose one by one while training goes on."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.sparsity import PATTERNS
from edgeshift.sparsity.neighbours import from_groups, in_groups
from edgeshift.train.layers import free_weights
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run

WORTH, LIVE = "worth/", "live/"
STARTS = ("first", "fresh")


@dataclass(frozen=True)
class NM(Method):
    """Every level starts dense and ends with `floor(kept * m)` of every `m` weights along the inputs.

    Each group of `m` scores all its combinations; a combination's score falls with the loss that its weights
    would spare. Step by step the lowest are struck out for good, and a weight stays as long as it is in any
    combination left. Once one is left per group it is fixed and the network tuned.

    Attributes:
        m: Length of a group.
        end: Share of a level's steps after which one combination is left; the paper's half.
        weight_decay: On the scores, as on weights.
        start: "first" = from the trained level 0, "fresh" = from the factory's weights.
        exclude: Globs over parameter names that stay whole.
    """

    card: ClassVar[Card] = Card(
        name="n_m",
        says="Learn the best N of every M weights; the pattern that sparse tensor cores take.",
        paper="Zhang et al., NeurIPS 2022",
        link="https://arxiv.org/abs/2206.06662",
        needs="training",
    )

    m: int = 4
    end: float = 0.5
    weight_decay: float = 1e-4
    start: str = "first"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        PATTERNS.make("n_m", m=self.m)
        if not 0 < self.end <= 1:
            raise BadValue("end", self.end, "above 0 and at most 1")
        if not 0 <= self.weight_decay < math.inf:
            raise BadValue("weight_decay", self.weight_decay, "0 or more")
        if self.start not in STARTS:
            raise BadValue("start", self.start, f"one of {', '.join(STARTS)}")

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`; every level must be at least one of `m`."""
        super().check(levels)
        pattern = PATTERNS.make("n_m", m=self.m)
        for kept in levels:
            n = pattern.n_of(kept)
            if self.m > 8 and 2 < n < self.m:
                raise BadValue(
                    "kept", kept, f"at most {2 / self.m:.6g} with m={self.m}: there are too many choices"
                )

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        run.memory.clear()
        weights = free_weights(run.model, tuple(self.exclude))
        if run.first is not None and self.start == "first":
            run.model.load_state_dict(run.first.state)
        run.set_masks({name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()})
        n = self.n(run)
        if n == self.m:
            return
        if run.steps < 1:
            raise BadValue("epochs", run.training.epochs, "at least 1; n_m learns what stays")
        choices = math.comb(self.m, n)
        for name, weight in weights.items():
            if groups := len(in_groups(weight, self.m)):
                # All in: every position's scores add up to 1.
                worth = torch.full((groups, choices), 1 / math.comb(self.m - 1, n - 1))
                run.memory[WORTH + name] = worth.to(run.device)
                run.memory[LIVE + name] = torch.ones((groups, choices), dtype=torch.bool, device=run.device)

    def n(self, run: Run) -> int:
        """Weights that stay of every `m` at this level."""
        count: int = PATTERNS.make("n_m", m=self.m).n_of(run.kept)
        return count

    def members(self, run: Run) -> Tensor:
        """`(combinations, m)`, float: 1 where a combination holds the position."""
        chosen = list(combinations(range(self.m), self.n(run)))
        table = torch.zeros(len(chosen), self.m)
        return table.scatter_(1, torch.tensor(chosen), 1.0).to(run.device)

    def left(self, run: Run, step: int) -> int:
        """Combinations per group that are left after `step` steps: a cubic from all to one."""
        choices, last = math.comb(self.m, self.n(run)), max(1, round(self.end * run.steps))
        return 1 + math.ceil((choices - 1) * max(0.0, 1 - step / last) ** 3 - 1e-9)

    def before_step(self, run: Run) -> None:
        """See `Method.before_step`; scores take a step down their gradient, the sum of `g * w` they hold."""
        worths = [n for n in run.memory if n.startswith(WORTH)]
        members = self.members(run) if worths else None
        for key in worths:
            weight, worth = run.masking.parameters[key.removeprefix(WORTH)], run.memory[key]
            assert weight.grad is not None
            assert members is not None
            gradient = in_groups(weight.grad * weight.detach(), self.m) @ members.T
            live = run.memory[LIVE + key.removeprefix(WORTH)]
            run.memory[key] = worth - run.rate() * live * (gradient + self.weight_decay * worth)

    def after_step(self, run: Run) -> None:
        """See `Method.after_step`; strikes out the lowest combinations when their step has come."""
        if not any(n.startswith(WORTH) for n in run.memory):
            return
        left = self.left(run, run.step)
        if left == self.left(run, run.step - 1) and left > 1:
            return
        members = self.members(run)
        masks = dict(run.masking.tensors)
        for key in [n for n in run.memory if n.startswith(WORTH)]:
            name = key.removeprefix(WORTH)
            live = strike(run.memory[key], run.memory[LIVE + name], left)
            run.memory[LIVE + name] = live
            positions = (live.float() @ members) > 0
            masks[name] = from_groups(positions, torch.ones_like(masks[name]), self.m)
        run.set_masks(masks)
        if left == 1:
            run.memory.clear()


def strike(worth: Tensor, live: Tensor, left: int) -> Tensor:
    """The `left` highest live combinations of each group, the first of equals; bool `(groups, combinations)`."""
    order = worth.masked_fill(~live, float("-inf")).argsort(dim=1, descending=True, stable=True)[:, :left]
    return torch.zeros_like(live).scatter_(1, order, True) & live
