# SPDX-License-Identifier: Apache-2.0
"""Mask channels softly while training goes on, chosen by a knapsack under a cost budget; what is pruned may return."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.train.channels import (
    Prices,
    choose_channels,
    chosen_of,
    column_masks,
    column_sums,
    groups_to_cut,
    row_masks,
)
from edgeshift.train.cut import scorer
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run

MASK, WORTH, CHOSEN = "soft/", "worth/", "chosen/"
# The paper's rate of the ramp, per epoch of 55.
RATE = 0.05 * 55


@dataclass(frozen=True)
class SoftMasking(Method):
    """Each level goes on from the one before and ends at `kept` of the dense network's cost.

    Masks lie on the columns that read a channel; gradients go straight through, so that a masked channel's
    readers keep learning and it may come back. Worth is the first-order change of the loss, summed over all
    that reads a channel, as a moving average. Every `every` steps a knapsack chooses the widths of highest
    worth under the budget of the moment. When the ramp ends masks become hard. The paper ramps over the 10th
    to 65th of 90 epochs and tunes for 25.

    Attributes:
        table: JSON file of measured layer costs; empty = multiply-accumulates decide.
        multiple: Widths are multiples of it.
        least: Share of each group's channels that stays.
        every: Steps between choices; fewer where a ramp is short, so that there are ten.
        warmup: Share of a level's steps before the first choice.
        ramp: Share of a level's steps after which masks are final, up to 1.
        decay: Pulls masked columns towards zero, per step and learning rate. The paper's 2e-4 is for 450,000
            steps; for fewer it must grow in proportion to do anything.
        momentum: Of the moving average of worth; 0 = the last step alone.
        permanent: What is masked once never returns, as a comparison.
        criterion: "taylor", or "magnitude" to rank by the size of the columns.
        survival: Maximise the product over groups of the share of worth that stays, not the sum of worth: the sum
            empties groups that cost much, as the early ones of a residual network.
        relative: Rank the channels of all groups together instead, each by its worth against the mean of its group's.
            Where little is to stay, sharing the budget takes too much from wide groups whose channels all matter.
        streams: Cut residual streams too: groups that several layers add to. They cost the most accuracy for what
            they save.
        exclude: Globs over parameter names; channel groups with such a parameter stay whole.
    """

    card: ClassVar[Card] = Card(
        name="soft_masking",
        says="Channels masked softly under a cost budget by a knapsack; what was pruned may return.",
        paper="Humble et al., ECCV 2022",
        link="https://arxiv.org/abs/2211.02206",
        needs="training",
    )

    table: str = ""
    multiple: int = 8
    least: float = 0.0
    every: int = 80
    warmup: float = 0.11
    ramp: float = 0.72
    decay: float = 2e-4
    momentum: float = 0.9
    permanent: bool = False
    criterion: str = "taylor"
    survival: bool = False
    relative: bool = False
    streams: bool = False
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, value, good, want in (
            ("multiple", self.multiple, self.multiple >= 1, "at least 1"),
            ("least", self.least, 0 <= self.least <= 1, "0 to 1"),
            ("every", self.every, self.every >= 1, "at least 1"),
            ("ramp", self.ramp, 0 < self.ramp <= 1, "above 0 and at most 1"),
            ("warmup", self.warmup, 0 <= self.warmup < self.ramp, f"0 to below the ramp's {self.ramp}"),
            ("decay", self.decay, 0 <= self.decay < math.inf, "0 or more"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1"),
            ("relative", self.relative, not (self.relative and self.survival), "false with survival"),
        ):
            if not good:
                raise BadValue(what, value, want)

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`."""
        super().check(levels)
        scorer(self.criterion)

    def reads(self) -> tuple[Path, ...]:
        """See `Method.reads`."""
        return (Path(self.table),) if self.table else ()

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        Prices.of(run.macs, self.table)  # a table that cannot be used is found before anything is trained
        groups = self.groups(run)
        run.memory.clear()
        if run.previous is None:
            shapes = {n: p.shape for n, p in run.masking.parameters.items()}
            run.set_masks(
                row_masks({g.name: torch.ones(g.channels, dtype=torch.bool) for g in groups}, groups, shapes)
            )
            return
        if run.steps < 1:
            raise BadValue("epochs", run.training.epochs, "at least 1; soft_masking chooses while it trains")
        run.model.load_state_dict(run.previous.state)
        run.set_masks({n: torch.from_numpy(m) for n, m in run.previous.masks.tensors.items()})
        for name, chosen in chosen_of(run.masking.tensors, groups).items():
            run.memory[CHOSEN + name] = chosen.to(run.device)

    def groups(self, run: Run) -> tuple[ChannelGroup, ...]:
        """The groups to choose from: those whose readers are all known, and that are not spared."""
        read = (group for group in run.task.groups if group.columns)
        return groups_to_cut(read, self.exclude, run.macs.shapes, streams=self.streams)

    def forward(self, run: Run, images: Tensor) -> Tensor:
        """See `Method.forward`; with the soft masks."""
        soft = {n.removeprefix(MASK): m for n, m in run.memory.items() if n.startswith(MASK)}
        # The value is masked, the gradient is that of the whole weight.
        whole = run.masking.parameters
        masked = {n: whole[n] + (whole[n] * m - whole[n]).detach() for n, m in soft.items()}
        outputs: Tensor = functional_call(run.model, masked, (images,)) if masked else run.outputs(images)
        return outputs

    def settled(self, run: Run) -> bool:
        """See `Method.settled`."""
        return run.previous is None or run.step >= self.end(run)

    def before_step(self, run: Run) -> None:
        """See `Method.before_step`; worth is read off the gradients, masked columns decay."""
        if run.previous is None or run.step >= self.end(run):
            return
        parameters, criterion = run.masking.parameters, scorer(self.criterion)
        groups = self.groups(run)
        names = {name for group in groups for name in group.columns}
        scores = {n: criterion.score(parameters[n], parameters[n].grad) for n in sorted(names)}
        for group in groups:
            now, key = column_sums(scores, group, run.on_device).abs(), WORTH + group.name
            run.memory[key] = run.memory.get(key, now) * self.momentum + now * (1 - self.momentum)
        for name, mask in run.memory.items():
            if name.startswith(MASK) and (gradient := parameters[name.removeprefix(MASK)].grad) is not None:
                gradient.add_(self.decay * (~mask) * parameters[name.removeprefix(MASK)].detach())

    def after_step(self, run: Run) -> None:
        """See `Method.after_step`; chooses anew when its step has come."""
        if run.previous is None or run.step > self.end(run):
            return
        start = round(self.warmup * run.steps)
        every = min(self.every, max(1, (self.end(run) - start) // 10))
        if run.step == self.end(run):
            self.choose(run, 1.0)
            self.harden(run)
        elif run.step > start and (run.step - start) % every == 0:
            self.choose(run, (run.step - start) / (self.end(run) - start))

    def end(self, run: Run) -> int:
        """The step after which masks are final."""
        return max(1, round(self.ramp * run.steps))

    def choose(self, run: Run, done: float) -> None:
        """Soft masks for the budget when `done` (0..1) of the ramp is behind."""
        assert run.previous is not None
        groups, prices = self.groups(run), Prices.of(run.macs, self.table)
        gone = chosen_of({n: torch.from_numpy(m) for n, m in run.previous.masks.tensors.items()}, groups)
        before = {g.name: run.memory[CHOSEN + g.name].cpu() for g in groups}
        candidates = before if self.permanent else gone
        worth = {
            g.name: run.memory[WORTH + g.name].cpu().masked_fill(~candidates[g.name], float("-inf"))
            for g in groups
        }
        share = (1 - math.exp(-RATE * done)) / (1 - math.exp(-RATE))
        keep = run.previous.kept + (run.kept - run.previous.kept) * share
        chosen = choose_channels(
            worth,
            groups,
            prices,
            keep * prices.total({}),
            self.multiple,
            self.least,
            survival=self.survival,
            relative=self.relative,
        )
        returned = sum(int((chosen[n] & ~before[n]).sum()) for n in chosen)
        run.memory["returned"] = run.memory.get("returned", torch.zeros((), dtype=torch.int64)) + returned
        shapes = {n: p.shape for n, p in run.masking.parameters.items()}
        for name, mask in column_masks(chosen, groups, shapes).items():
            run.memory[MASK + name] = mask.to(run.device)
        for name, keeps in chosen.items():
            run.memory[CHOSEN + name] = keeps.to(run.device)
        run.live = None

    def harden(self, run: Run) -> None:
        """Put the choice on the rows that make the channels; the network computes the same."""
        groups = self.groups(run)
        run.set_masks(self.rows(run, groups))
        for name in [n for n in run.memory if n.startswith((MASK, WORTH))]:
            del run.memory[name]

    def rows(self, run: Run, groups: tuple[ChannelGroup, ...]) -> Mapping[str, Tensor]:
        """Row masks of the choice at hand."""
        chosen = {g.name: run.memory[CHOSEN + g.name] for g in groups}
        return row_masks(chosen, groups, {n: p.shape for n, p in run.masking.parameters.items()})

    def spent(self, run: Run) -> float:
        """See `Method.spent`; while masks are soft the gradient of the weights is dense."""
        if run.previous is None or run.step >= self.end(run):
            return super().spent(run)
        if run.live is None:
            run.live = run.macs.of_masks(self.rows(run, self.groups(run)))
        return 2 * run.live + run.macs.dense
