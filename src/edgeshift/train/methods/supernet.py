# SPDX-License-Identifier: Apache-2.0
"""One set of weights trained to work at every sparsity; each level is a mask of it and needs no training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.train.cut import cut_of
from edgeshift.train.loss import distance
from edgeshift.train.methods.shape import PASSES, TrainsOnce
from edgeshift.train.narrow import Narrow, checked
from edgeshift.train.run import Run

LADDER = "ladder/"


@dataclass(frozen=True)
class Supernet(TrainsOnce):
    """Level 0 trains the whole network and, in the same step, masked forms of it; later levels only cut it.

    In each step the dense network learns from the labels, the sparsest form and `middle` others drawn at random
    between (the sandwich rule) learn half from the labels and half from the dense network's outputs. All masks
    come from one ranking of the shared weights, so sparser forms lie inside denser ones. Batch-norm statistics
    are the dense network's while training; every level measures its own. Costs about as many passes per step
    as there are forms; the training log counts them.

    Attributes:
        criterion: Name of a criterion.
        pattern: Name of a pattern.
        least: Lowest kept fraction that is trained for; no level may lie below it.
        middle: Forms between the sparsest and the dense one, per step.
        ramp: Share of the steps in which the sparsest form falls from whole to `least`.
        distil: Share of the dense network's outputs in the loss of the others, 0..1.
        every: Steps between rankings; the forms to draw from are made then.
        pool: How many forms are made to draw from.
        exclude: Globs over parameter names that stay whole.
        criterion_options: Options of the criterion.
        pattern_options: Options of the pattern.
    """

    card: ClassVar[Card] = Card(
        name="supernet",
        says="One training for every sparsity: sandwich rule, in-place distillation, norms per level.",
        paper="Yang et al., ICASSP 2022",
        link="https://arxiv.org/abs/2110.08352",
        needs="training",
    )

    criterion: str = "magnitude"
    pattern: str = "channel"
    least: float = 0.1
    middle: int = 1
    ramp: float = 0.5
    distil: float = 0.5
    every: int = 20
    pool: int = 4
    exclude: tuple[str, ...] = ()
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, value, good, want in (
            ("least", self.least, 0 < self.least <= 1, "above 0 and at most 1"),
            ("middle", self.middle, self.middle >= 0, "0 or more"),
            ("ramp", self.ramp, 0 <= self.ramp <= 1, "0 to 1"),
            ("distil", self.distil, 0 <= self.distil <= 1, "0 to 1"),
            ("every", self.every, self.every >= 1, "at least 1"),
            ("pool", self.pool, self.pool >= self.middle, f"at least the {self.middle} drawn from it"),
        ):
            if not good:
                raise BadValue(what, value, want)

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`; no level may lie below `least`."""
        super().check(levels)
        cut_of(self).check()
        if levels[-1] < self.least:
            raise BadValue("last level", levels[-1], f"at least {self.least}, the least that is trained for")

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if run.first is not None:
            run.model.load_state_dict(run.first.state)
        run.memory.clear()
        run.set_masks(cut_of(self).masks(run.model, run.kept, run.task.groups))

    def drawn(self, run: Run) -> tuple[int, ...]:
        """Forms of the step: the sparsest, and others of the pool; that is made anew when the time has come."""
        if run.step % self.every == 0 or not any(n.startswith(LADDER) for n in run.memory):
            self.make_pool(run)
        generator = torch.Generator().manual_seed(seed_for(run.training.seed, "forms", run.step))
        return (0, *(1 + d for d in torch.randperm(self.pool, generator=generator)[: self.middle].tolist()))

    def form(self, run: Run, number: int) -> dict[str, Tensor]:
        """Masks of one form of the pool; number 0 is the sparsest."""
        start = f"{LADDER}{number}/"
        return {n.removeprefix(start): m for n, m in run.memory.items() if n.startswith(start)}

    def part(self, run: Run, number: int, images: Tensor) -> Tensor:
        """Outputs of one form of the pool; its dead channels are not computed where there are such.

        Its batch norms normalise by the batch, and leave the model's running statistics as they are.
        """
        own = {n: b.clone() for n, b in run.model.named_buffers()}
        masks = self.form(run, number)
        weights = {**own, **{n: run.masking.parameters[n] * m for n, m in masks.items()}}
        if number not in run.forms:
            found = Narrow.of(run.model, masks, run.task.groups, run.macs)
            run.forms[number] = checked(found, run.model, weights, images)
        if (narrow := run.forms[number]) is not None:
            return narrow.run(run.model, images, own)
        outputs: Tensor = functional_call(run.model, weights, (images,))
        return outputs

    def make_pool(self, run: Run) -> None:
        """Rank the weights and keep the masks of the sparsest form and of others drawn between it and the whole."""
        run.forms.clear()
        rise = self.ramp * run.steps
        least = 1 - (1 - self.least) * (min(1.0, run.step / rise) if rise else 1.0)
        generator = torch.Generator().manual_seed(seed_for(run.training.seed, "pool", run.step))
        drawn = (
            least + (1 - least) * torch.rand(self.pool, generator=generator, dtype=torch.float64)
        ).tolist()
        costs = []
        for number, keep in enumerate((least, *drawn)):
            masks = cut_of(self).masks(run.model, keep, run.task.groups)
            costs.append(run.macs.of_masks(masks))
            for name, mask in masks.items():
                like = torch.empty_like(run.masking.parameters[name], dtype=torch.bool)
                run.memory[f"{LADDER}{number}/{name}"] = like.copy_(mask)
        run.memory["costs"] = torch.tensor(costs, dtype=torch.float64)

    def loss(self, run: Run, images: Tensor, loss_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """See `Method.loss`; the sum over the dense network and its forms."""
        outputs: Tensor = run.model(images)
        total = loss_of(outputs)
        target = outputs.detach().float()
        for number in self.drawn(run):
            masked = self.part(run, number, images)
            far = distance(masked.float(), target)
            total = total + (1 - self.distil) * loss_of(masked) + self.distil * far
        return outputs, total

    def finish(self, run: Run) -> None:
        """See `Method.finish`; the pool is not kept."""
        run.memory.clear()

    def spent(self, run: Run) -> float:
        """See `Method.spent`; the dense network and every form."""
        if "costs" not in run.memory:
            return PASSES * (2 + self.middle) * run.macs.dense
        costs = run.memory["costs"]
        return PASSES * float(run.macs.dense + costs[0] + self.middle * costs[1:].mean())
