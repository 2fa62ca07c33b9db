# SPDX-License-Identifier: Apache-2.0
"""Train sparse from the first step: drop small weights, grow where the dense gradient is steep, at fixed cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity.allocation import counts
from edgeshift.train.channels import row_masks
from edgeshift.train.cut import Cut
from edgeshift.train.layers import ALLOCATIONS, STARTS, begin_masks, check_allocation, free_weights, top
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run

GROWS = ("gradient", "random")
PATTERNS = ("unstructured", "channel")
CHOSEN = "chosen/"


@dataclass(frozen=True)
class Rigl(Method):
    """Every level but the dense first starts from the factory's weights with sparse masks of its own size.

    The number of weights per layer never changes. On a step that moves weights the optimizer does not step,
    as in the paper. With `pattern="channel"` the masks lie on the columns that read a channel: whole channels
    are dropped by the size of their columns and grown by the gradient there, and at the end the rows that make
    dropped channels go too.

    Attributes:
        pattern: "unstructured", or "channel".
        allocation: "erk", or "uniform" for the same share of every layer.
        start: "random" masks, or "magnitude" where the factory's weights are trained ones.
        grow: "gradient", or "random" (sparse evolutionary training, Mocanu et al. 2018).
        alpha: Share of a layer's weights moved at the first step that moves any; falls along a cosine to 0.
        every: Steps from one move to the next.
        end: Share of a level's steps after which nothing moves.
        exclude: Globs over parameter names that stay whole.
    """

    card: ClassVar[Card] = Card(
        name="rigl",
        says="Sparse from the first step, at fixed cost: drop small weights, grow by the dense gradient.",
        paper="Evci et al., ICML 2020",
        link="https://arxiv.org/abs/1911.11134",
        needs="training",
    )

    pattern: str = "unstructured"
    allocation: str = "erk"
    start: str = "random"
    grow: str = "gradient"
    alpha: float = 0.3
    every: int = 100
    end: float = 0.75
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_allocation(self.allocation)
        for what, value, known in (
            ("pattern", self.pattern, PATTERNS),
            ("start", self.start, STARTS),
            ("grow", self.grow, GROWS),
        ):
            if value not in known:
                raise BadValue(what, value, f"one of {', '.join(known)}")
        if not 0 <= self.alpha <= 1:
            raise BadValue("alpha", self.alpha, "0 to 1")
        if self.every < 1:
            raise BadValue("every", self.every, "at least 1")
        if not 0 <= self.end <= 1:
            raise BadValue("end", self.end, "0 to 1")

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        run.memory.clear()
        if self.pattern == "channel":
            self.begin_channels(run)
            return
        weights = free_weights(run.model, tuple(self.exclude))
        seed = seed_for(run.training.seed, "rigl", run.index)
        run.set_masks(begin_masks(weights, run.kept, self.allocation, self.start, seed))

    def groups(self, run: Run) -> tuple[ChannelGroup, ...]:
        """The channel groups to choose from.

        Raises:
            BadValue: If there is none.
        """
        free = Cut("magnitude", "channel", tuple(self.exclude)).free(run.task.groups)
        found = tuple(group for group in free if group.columns)
        if not found:
            raise BadValue("channel groups", (), "at least one; this model has no channel that may go")
        return found

    def begin_channels(self, run: Run) -> None:
        """Choose the first channels of each group; `round(kept * all)` together."""
        groups = self.groups(run)
        parameters = run.masking.parameters
        shapes = {
            g.name: tuple(next(parameters[n].shape for n in g.rows if parameters[n].ndim > 1)) for g in groups
        }
        sizes = {g.name: g.channels for g in groups}
        total = round(run.kept * sum(sizes.values()))
        each = counts(sizes, ALLOCATIONS[self.allocation](shapes, run.kept), total, least=1)
        for group in groups:
            generator = torch.Generator().manual_seed(
                seed_for(run.training.seed, "rigl", run.index, group.name)
            )
            score = torch.rand(group.channels, generator=generator)
            if self.start == "magnitude":
                score = strengths(parameters, group)
            run.memory[CHOSEN + group.name] = top(score, each[group.name]).to(run.device)
        self.put_columns(run)

    def put_columns(self, run: Run) -> None:
        """Masks on the columns that read the channels not chosen."""
        masks: dict[str, Tensor] = {}
        for group in self.groups(run):
            gone = (~run.memory[CHOSEN + group.name]).cpu().numpy()
            for name, columns in group.columns.items():
                mask = masks.setdefault(
                    name, torch.ones(run.masking.parameters[name].shape, dtype=torch.bool)
                )
                mask[:, torch.from_numpy(columns[gone].ravel())] = False
        run.set_masks(masks)

    def moves(self, run: Run) -> bool:
        """Whether the step at hand moves weights instead of training them."""
        due = run.step > 0 and run.step % self.every == 0 and run.step < self.end * run.steps
        return due and run.index > 0

    def share(self, run: Run) -> float:
        """Share of each layer to move at this step."""
        return self.alpha / 2 * (1 + math.cos(math.pi * run.step / max(1.0, self.end * run.steps)))

    def before_step(self, run: Run) -> None:
        """See `Method.before_step`; moves weights by their dense gradients, and leaves no step to make."""
        if not self.moves(run):
            return
        if self.pattern == "channel":
            for group in self.groups(run):
                chosen, parameters = run.memory[CHOSEN + group.name].cpu(), run.masking.parameters
                steep = {n: parameters[n].grad for n in group.columns}
                moved = self.moved(
                    run, group.name, chosen, strengths(parameters, group), strengths(steep, group)
                )
                run.memory[CHOSEN + group.name] = moved.to(run.device)
            self.put_columns(run)
        else:
            masks = {}
            for name, mask in run.masking.tensors.items():
                weight = run.masking.parameters[name]
                assert weight.grad is not None
                masks[name] = self.moved(run, name, mask, weight.detach().abs(), weight.grad.abs())
            run.set_masks(masks)
        run.optimizer.zero_grad(set_to_none=True)  # without gradients SGD passes every parameter over

    def moved(self, run: Run, name: str, mask: Tensor, size: Tensor, steep: Tensor) -> Tensor:
        """The mask with the smallest kept dropped and as many of the steepest others grown.

        What was just dropped may come back at once and then keeps its value.
        """
        count = int(mask.sum())
        drop = min(int(self.share(run) * count), mask.numel() - count)
        kept = top(size.float().masked_fill(~mask, float("-inf")), count - drop)
        if self.grow == "random":
            generator = torch.Generator().manual_seed(
                seed_for(run.training.seed, "grow", run.index, run.step, name)
            )
            steep = torch.rand(mask.shape, generator=generator).to(mask.device)
        return kept | top(steep.float().masked_fill(kept, float("-inf")), drop)

    def finish(self, run: Run) -> None:
        """See `Method.finish`; channels that nobody reads lose the rows that make them."""
        if self.pattern == "channel":
            run.set_masks(self.rows(run))

    def rows(self, run: Run) -> dict[str, Tensor]:
        """Row masks of the chosen channels."""
        groups = self.groups(run)
        chosen = {g.name: run.memory[CHOSEN + g.name] for g in groups}
        return row_masks(chosen, groups, {n: p.shape for n, p in run.masking.parameters.items()})

    def spent(self, run: Run) -> float:
        """See `Method.spent`; a step that moves weights needs the dense gradient of all of them."""
        if run.live is None and self.pattern == "channel":
            run.live = run.macs.of_masks(self.rows(run))
        live = run.live_macs()
        return 2 * live + (run.macs.dense if self.moves(run) else live)


def strengths(values: Mapping[str, Tensor | None], group: ChannelGroup) -> Tensor:
    """`(channels,)`, on the CPU: root of the summed squares of all columns that read each channel."""
    total = torch.zeros(group.channels)
    for name, columns in group.columns.items():
        value = values[name]
        assert value is not None
        by_column = value.detach().float().square().transpose(0, 1).flatten(1).sum(1).cpu()
        total = total + by_column[torch.from_numpy(columns)].sum(1)
    return total.sqrt()
