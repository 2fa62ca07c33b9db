# SPDX-License-Identifier: Apache-2.0
"""Grow one part of a sparse network to dense, train, prune it back, go on with the next part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.train.layers import STARTS, begin_masks, check_allocation, free_weights, layer_counts, top
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run

ROUND, MERGED, MASK = "round/", "merged/", "mask/"


@dataclass(frozen=True)
class GrowAndPrune(Method):
    """Every level but the dense first starts sparse from the factory's weights; it is never dense as a whole.

    Layers are split into partitions of about equally many weights. In turn each is grown to dense, trained,
    and pruned back by magnitude to its layers' counts. After all rounds the network is tuned as it is.

    Attributes:
        partitions: Number of parts; as many as there are layers at most.
        rounds: How often every part is grown.
        share: Share of a level's steps for all of that, above 0 and at most 1.
        parallel: Every part grows from the round's start, each in a copy of its own, one after the other;
            then each part is taken from its copy. Else (cyclic) each goes on from the one before.
        allocation: How much a layer keeps: "erk", or "uniform".
        start: "random" masks, or "magnitude" where the factory's weights are trained ones.
        exclude: Globs over parameter names that stay whole.
    """

    card: ClassVar[Card] = Card(
        name="grow_and_prune",
        says="Grow one part of a sparse network, train, prune it back, then the next; never dense as a whole.",
        paper="Ma et al., ICLR 2022",
        link="https://arxiv.org/abs/2106.09857",
        needs="training",
    )

    partitions: int = 4
    rounds: int = 2
    share: float = 0.6
    parallel: bool = False
    allocation: str = "erk"
    start: str = "random"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_allocation(self.allocation)
        for what, value, good, want in (
            ("partitions", self.partitions, self.partitions >= 1, "at least 1"),
            ("rounds", self.rounds, self.rounds >= 1, "at least 1"),
            ("share", self.share, 0 < self.share <= 1, "above 0 and at most 1"),
            ("start", self.start, self.start in STARTS, f"one of {', '.join(STARTS)}"),
        ):
            if not good:
                raise BadValue(what, value, want)

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        run.memory.clear()
        weights = free_weights(run.model, tuple(self.exclude))
        seed = seed_for(run.training.seed, "grow_and_prune", run.index)
        masks = begin_masks(weights, run.kept, self.allocation, self.start, seed)
        run.set_masks(masks)
        if run.index == 0:
            return
        turns = len(self.parts(run)) * self.rounds
        if self.share * run.steps < turns:
            raise BadValue(
                "steps of a level", run.steps, f"at least {turns / self.share:.6g}, one for every turn"
            )
        if self.parallel:
            self.remember_round(run)
        self.grow(run, 0)

    def parts(self, run: Run) -> list[list[str]]:
        """Layers of each partition: the largest layer left goes to the lightest partition."""
        weights = free_weights(run.model, tuple(self.exclude))
        parts: list[list[str]] = [[] for _ in range(min(self.partitions, len(weights)))]
        loads = [0] * len(parts)
        for name in sorted(weights, key=lambda n: -weights[n].numel()):
            lightest = loads.index(min(loads))
            parts[lightest].append(name)
            loads[lightest] += weights[name].numel()
        return parts

    def turn(self, run: Run, step: int) -> int:
        """How many turns are over after `step` steps."""
        turns = len(self.parts(run)) * self.rounds
        return min(turns, int(step * turns / (self.share * run.steps) + 1e-9))

    def grow(self, run: Run, part: int) -> None:
        """Make one partition dense; its removed weights go on from zero."""
        grown = set(self.parts(run)[part])
        run.set_masks({n: torch.ones_like(m) if n in grown else m for n, m in run.masking.tensors.items()})

    def prune(self, run: Run, part: int) -> None:
        """Prune one partition back to its layers' counts."""
        weights = free_weights(run.model, tuple(self.exclude))
        counted = layer_counts(weights, run.kept, self.allocation)
        pruned = {n: top(weights[n].detach().abs(), counted[n]) for n in self.parts(run)[part]}
        run.set_masks({**run.masking.tensors, **pruned})

    def after_step(self, run: Run) -> None:
        """See `Method.after_step`; ends a turn when its step has come, and begins the next."""
        if run.index == 0:
            return
        before, now = self.turn(run, run.step - 1), self.turn(run, run.step)
        if now == before:
            return
        parts = len(self.parts(run))
        self.prune(run, before % parts)
        if self.parallel:
            self.keep_part(run, before % parts)
            if now % parts == 0:
                self.merge(run)
            else:
                self.back_to_round(run)
        if now < parts * self.rounds:
            self.grow(run, now % parts)

    def remember_round(self, run: Run) -> None:
        """Keep the network and masks that every part of a round grows from."""
        run.memory.clear()
        for name, tensor in run.model.state_dict().items():
            run.memory[ROUND + name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, mask in run.masking.tensors.items():
            run.memory[ROUND + MASK + name] = mask.clone(memory_format=torch.contiguous_format)

    def keep_part(self, run: Run, part: int) -> None:
        """Keep what belongs to one partition of the copy that grew it: its layers, and the norms behind them."""
        layers = set(self.parts(run)[part])
        for name, tensor in run.model.state_dict().items():
            if self.owners(run)[name] in layers:
                run.memory[MERGED + name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        for name in layers:
            run.memory[MERGED + MASK + name] = run.masking.tensors[name].clone(
                memory_format=torch.contiguous_format
            )

    def owners(self, run: Run) -> Mapping[str, str]:
        """Entry of the state -> the masked layer before it in the model's order, or the first."""
        names = list(free_weights(run.model, tuple(self.exclude)))
        found, owner = {}, names[0]
        for name in run.model.state_dict():
            owner = name if name in names else owner
            found[name] = owner
        return found

    def back_to_round(self, run: Run) -> None:
        """Another copy: the network as the round began, without momentum."""
        self.load(run, ROUND)

    def merge(self, run: Run) -> None:
        """Each partition from its own copy; the next round grows from there."""
        self.load(run, ROUND)
        self.load(run, MERGED)
        self.remember_round(run)

    def load(self, run: Run, kind: str) -> None:
        """Put remembered tensors and masks of one kind over the network's."""
        found = {n.removeprefix(kind): t for n, t in run.memory.items() if n.startswith(kind)}
        state = {n: t for n, t in found.items() if not n.startswith(MASK)}
        run.model.load_state_dict(state, strict=False)
        run.optimizer.state.clear()
        masks: dict[str, Tensor] = {n.removeprefix(MASK): t for n, t in found.items() if n.startswith(MASK)}
        run.set_masks({**run.masking.tensors, **masks})
