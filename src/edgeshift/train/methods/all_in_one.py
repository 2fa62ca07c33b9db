# SPDX-License-Identifier: Apache-2.0
"""One set of weights and one soft mask for several ratios; each ratio keeps only batch norms of its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.core.values import ChannelGroup
from edgeshift.train.accuracy import NORMS
from edgeshift.train.channels import Prices, column_sums, groups_to_cut, row_masks
from edgeshift.train.cut import scorer
from edgeshift.train.loss import distance
from edgeshift.train.methods.shape import PASSES, TrainsOnce
from edgeshift.train.narrow import Narrow, checked
from edgeshift.train.run import Run

SCORE, CHOSEN, NORM, MOMENTUM = "score/", "chosen/", "norm/", "momentum/"


@dataclass(frozen=True)
class AllInOne(TrainsOnce):
    """Level 0 trains every ratio in the same weights; later levels only take theirs out.

    Each channel has one score. At a ratio a group keeps its highest-scored channels, as many as the ratio's
    threshold lets through, so smaller ratios lie inside larger ones, and convolutions and linear layers are the
    same numbers in all of them. The mask is 1 or 0 forward and the score itself backward, so a channel that is
    out can come back. Each ratio has batch norms of its own: statistics, scale and shift. In a step the whole
    network learns from the labels; the smallest ratio and `middle` others learn from labels and from the whole
    network's outputs. All groups keep about the same share of their channels; see `widths_within`. Scores begin as
    the size of the columns that read a channel, so a network that is trained already keeps its best channels.

    The full paper was not at hand: this follows its abstract, and slimmable networks for what that leaves open.

    Attributes:
        ratios: Shares of the network's cost, falling, each below 1; those of a device's clocks come from
            `edgeshift ratios`. A build's levels are 1 and some of these.
        table: JSON file of measured layer costs; empty = multiply-accumulates decide.
        multiple: Groups keep multiples of it.
        least: Share of each group's channels that stays.
        middle: Ratios beside the whole and the smallest in each step, drawn at random.
        settle: Share of the steps after which the scores are final.
        every: Steps between rankings.
        distil: Share of the whole network's outputs in the loss of the others, 0..1.
        whole: Weight of the whole network's loss; that of a ratio is 1.
        own_rate: Times the learning rate, for batch norms. The shared weights move by the sum over the passes of a
            step, the norms of a ratio by its own alone: where the rate was lowered for the sum, this raises theirs.
        streams: Cut residual streams too; see `SoftMasking`.
        exclude: Globs over parameter names; channel groups with such a parameter stay whole.
    """

    card: ClassVar[Card] = Card(
        name="all_in_one",
        says="One weight set and one soft mask for several ratios, batch norms per ratio; for DVFS.",
        paper="Gong et al., ICCAD 2022",
        link="https://arxiv.org/abs/2212.05122",
        needs="training",
    )

    ratios: tuple[float, ...] = (0.8, 0.6, 0.5, 0.4, 0.3)
    table: str = ""
    multiple: int = 4
    least: float = 0.0
    middle: int = 2
    settle: float = 0.3
    every: int = 50
    distil: float = 0.5
    whole: float = 1.0
    own_rate: float = 1.0
    streams: bool = False
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip((1.0, *self.ratios), self.ratios, strict=False))
        for what, value, good, want in (
            ("ratios", self.ratios, self.ratios and falling and self.ratios[-1] > 0, "falling, from 1 to 0"),
            ("multiple", self.multiple, self.multiple >= 1, "at least 1"),
            ("least", self.least, 0 <= self.least <= 1, "0 to 1"),
            ("middle", self.middle, self.middle >= 0, "0 or more"),
            ("settle", self.settle, 0 <= self.settle <= 1, "0 to 1"),
            ("every", self.every, self.every >= 1, "at least 1"),
            ("distil", self.distil, 0 <= self.distil <= 1, "0 to 1"),
            ("whole", self.whole, 0 < self.whole < math.inf, "above 0"),
            ("own_rate", self.own_rate, 0 < self.own_rate < math.inf, "above 0"),
        ):
            if not good:
                raise BadValue(what, value, want)

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`; levels are the whole network and ratios that are trained for."""
        super().check(levels)
        for kept in levels[1:]:
            self.rank(kept)

    def rank(self, kept: float) -> int:
        """Index of a ratio.

        Raises:
            BadValue: If it is none.
        """
        for k, ratio in enumerate(self.ratios):
            if math.isclose(ratio, kept, rel_tol=1e-6):
                return k
        raise BadValue("level", kept, f"one of the ratios trained for: {', '.join(map(str, self.ratios))}")

    def reads(self) -> tuple[Path, ...]:
        """See `Method.reads`."""
        return (Path(self.table),) if self.table else ()

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if run.first is not None:
            self.take_out(run)
            return
        run.memory.clear()
        groups = self.groups(run)
        for name, score in first_scores(run.masking.parameters, groups, run.on_device).items():
            run.memory[SCORE + name] = score.to(run.device)
        fresh = norm_tensors(run.model)
        for k in range(len(self.ratios)):
            for name, tensor in fresh.items():
                run.memory[f"{NORM}{k}/{name}"] = tensor.detach().clone()
        self.choose(run)
        shapes = {n: p.shape for n, p in run.masking.parameters.items()}
        run.set_masks(
            row_masks({g.name: torch.ones(g.channels, dtype=torch.bool) for g in groups}, groups, shapes)
        )

    def groups(self, run: Run) -> tuple[ChannelGroup, ...]:
        """The groups to choose from; see `groups_to_cut`."""
        return groups_to_cut(run.task.groups, self.exclude, run.macs.shapes, streams=self.streams)

    def take_out(self, run: Run) -> None:
        """Give the model the shared weights and what belongs to its ratio alone."""
        assert run.first is not None
        k, groups = self.rank(run.kept), self.groups(run)
        run.model.load_state_dict({**run.first.state, **self.own(run, k)})
        shapes = {n: p.shape for n, p in run.masking.parameters.items()}
        chosen = {g.name: run.memory[f"{CHOSEN}{k}/{g.name}"] for g in groups}
        run.set_masks(row_masks(chosen, groups, shapes))

    def choose(self, run: Run) -> None:
        """The channels of every ratio, by the scores of the moment."""
        groups, prices = self.groups(run), Prices.of(run.macs, self.table)
        costs = []
        for k, ratio in enumerate(self.ratios):
            kept = widths_within(prices, groups, ratio, self.multiple, self.least)
            costs.append(prices.total(kept) / prices.total({}))
            for group in groups:
                order = torch.argsort(run.memory[SCORE + group.name], descending=True, stable=True)
                chosen = torch.zeros_like(order, dtype=torch.bool)
                chosen[order[: kept[group.name]]] = True
                run.memory[f"{CHOSEN}{k}/{group.name}"] = chosen
        run.memory["costs"] = torch.tensor(costs, dtype=torch.float64)

    def loss(self, run: Run, images: Tensor, loss_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """See `Method.loss`; the sum over the whole network and the ratios of the step."""
        outputs: Tensor = run.model(images)
        total, target = self.whole * loss_of(outputs), outputs.detach().float()
        for k in self.drawn(run):
            part = self.part(run, k, images)
            far = distance(part.float(), target)
            total = total + (1 - self.distil) * loss_of(part) + self.distil * far
        return outputs, total

    def drawn(self, run: Run) -> list[int]:
        """The ratios of a step: the smallest and `middle` others."""
        generator = torch.Generator().manual_seed(seed_for(run.training.seed, "ratios", run.step))
        others = torch.randperm(len(self.ratios) - 1, generator=generator)[: self.middle].tolist()
        return [len(self.ratios) - 1, *others]

    def part(self, run: Run, k: int, images: Tensor) -> Tensor:
        """Outputs of one ratio; once scores are final its dead channels are not computed."""
        if run.step >= self.settle * run.steps:
            if k not in run.forms:
                run.forms[k] = self.narrow(run, k, images)
            if (narrow := run.forms[k]) is not None:
                return narrow.run(run.model, images, learning(self.own(run, k)))
        outputs: Tensor = functional_call(run.model, self.form(run, k), (images,))
        return outputs

    def narrow(self, run: Run, k: int, images: Tensor) -> Narrow | None:
        """The smaller network of one ratio; None where there is none that gives the same outputs."""
        groups = self.groups(run)
        shapes = {n: p.shape for n, p in run.masking.parameters.items()}
        masks = row_masks({g.name: run.memory[f"{CHOSEN}{k}/{g.name}"] for g in groups}, groups, shapes)
        found = Narrow.of(run.model, masks, run.task.groups, run.macs)
        return checked(found, run.model, self.form(run, k), images, self.own(run, k))

    def own(self, run: Run, k: int) -> dict[str, Tensor]:
        """What belongs to one ratio alone."""
        start = f"{NORM}{k}/"
        return {n.removeprefix(start): t for n, t in run.memory.items() if n.startswith(start)}

    def form(self, run: Run, k: int) -> dict[str, Tensor]:
        """Name -> tensor in place of the model's own, for one ratio; gradients reach weights, norms and scores."""
        own = learning(self.own(run, k))
        found = dict(own)
        soft = run.step < self.settle * run.steps
        for group in self.groups(run):
            score = run.memory[SCORE + group.name].requires_grad_(soft)
            mask = run.memory[f"{CHOSEN}{k}/{group.name}"].float()
            if soft:
                mask = mask + (score - score.detach())
            for name in silenced(group, own):
                tensor = found[name] if name in found else run.masking.parameters[name]
                rows = run.on_device(group.rows[name])
                factor = torch.ones(len(tensor), device=tensor.device).index_copy(
                    0, rows.reshape(-1), mask.repeat_interleave(rows.shape[1])
                )
                found[name] = tensor * factor.reshape(-1, *[1] * (tensor.ndim - 1))
        return found

    def before_step(self, run: Run) -> None:
        """See `Method.before_step`; the norms of the whole network move at their rate too."""
        for name in norm_tensors(run.model):
            if is_scale(name) and (gradient := run.masking.parameters[name].grad) is not None:
                gradient.mul_(self.own_rate)

    def after_step(self, run: Run) -> None:
        """See `Method.after_step`; moves what belongs to the ratios, and ranks anew when its step has come."""
        moved = [n for n in run.memory if n.startswith((NORM, SCORE)) and run.memory[n].grad is not None]
        with torch.no_grad():
            for name in moved:
                tensor, gradient = run.memory[name], run.memory[name].grad
                assert gradient is not None
                if name.startswith(NORM):
                    gradient = self.own_rate * gradient + run.training.weight_decay * tensor
                momentum = run.memory.setdefault(MOMENTUM + name, torch.zeros_like(tensor))
                momentum.mul_(run.training.momentum).add_(gradient)
                ahead = gradient + run.training.momentum * momentum if run.training.nesterov else momentum
                run.memory[name] = tensor.detach() - run.rate() * ahead
        if run.step < self.settle * run.steps and run.step % self.every == 0:
            self.choose(run)

    def finish(self, run: Run) -> None:
        """See `Method.finish`; momentum is not kept."""
        run.memory.update({n: t.detach() for n, t in run.memory.items()})
        for name in [n for n in run.memory if n.startswith(MOMENTUM)]:
            del run.memory[name]

    def spent(self, run: Run) -> float:
        """See `Method.spent`; the whole network and, on average, the ratios of a step, cut physically."""
        costs = run.memory["costs"]
        middle = float(costs[:-1].mean()) if len(costs) > 1 else 0.0
        times = min(self.middle, len(costs) - 1)
        return PASSES * run.macs.dense * (1 + float(costs[-1]) + times * middle)


def first_scores(
    parameters: Mapping[str, Tensor],
    groups: tuple[ChannelGroup, ...],
    index: Callable[[NDArray[np.int64]], Tensor],
) -> dict[str, Tensor]:
    """Group -> `(channels,)`: the size of the columns that read a channel, over the group's mean.

    Args:
        parameters: By name.
        groups: Channels to score; those that nobody reads score 1.
        index: See `column_sums`.
    """
    size, found = scorer("magnitude"), {}
    read = {n for group in groups for n in group.columns}
    sizes = {n: size.score(parameters[n].detach(), None) for n in sorted(read)}
    for group in groups:
        sums = column_sums(sizes, group, index) if group.columns else torch.zeros(group.channels)
        found[group.name] = sums / sums.mean() if sums.sum() > 0 else torch.ones(group.channels)
    return found


def norm_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Scale, shift and running statistics of every batch norm, by name."""
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, NORMS):
            for name in ("weight", "bias", "running_mean", "running_var"):
                if (tensor := getattr(module, name)) is not None:
                    found[f"{path}.{name}" if path else name] = tensor
    return found


def learning(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors; from here on scales and shifts take gradients."""
    return {n: t.requires_grad_(is_scale(n)) for n, t in own.items()}


def is_scale(name: str) -> bool:
    """Whether a tensor of a batch norm is learnt, not measured."""
    return name.rpartition(".")[2] in ("weight", "bias")


def silenced(group: ChannelGroup, norms: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Parameters whose rows make a group's channels zero.

    Its batch norms alone, where each of its layers has one: what comes before a norm of scale and shift zero
    does not matter, and the score of a channel that is out still gets the gradient of what it would say.
    """
    own = [n for n in group.rows if n in norms]
    scales = sum(n.endswith("weight") for n in own)
    layers = sum(n.endswith("weight") and n not in norms for n in group.rows)
    return tuple(own) if own and scales >= layers else tuple(group.rows)


def widths_within(
    prices: Prices, groups: tuple[ChannelGroup, ...], ratio: float, multiple: int, least: float
) -> dict[str, int]:
    """Group -> channels: about the same share for all, as many as cost at most `ratio` of the whole network.

    Widths lie on one path from whole to least, on which the group that keeps the highest share gives up a
    multiple next; so those of a smaller ratio are nowhere larger.

    Args:
        prices: What widths cost.
        groups: Those that give up channels.
        ratio: Of the whole network's cost.
        multiple: Groups keep multiples of it, and at least one, where they are that wide.
        least: Share of each group that stays whatever the ratio.

    Raises:
        BadValue: If even the smallest widths cost more.
    """
    low = {g.name: min(g.channels, max(multiple, math.ceil(least * g.channels))) for g in groups}
    kept, whole = {g.name: g.channels for g in groups}, prices.total({})
    while prices.total(kept) > ratio * whole * (1 + 1e-9):
        free = [g for g in groups if kept[g.name] > low[g.name]]
        if not free:
            share = prices.total(kept) / whole
            raise BadValue("ratio", ratio, f"at least {share:.3g}, what the smallest widths cost")
        next_one = max(free, key=lambda g: kept[g.name] / g.channels)
        down = (kept[next_one.name] - 1) // multiple * multiple
        kept[next_one.name] = max(low[next_one.name], down)
    return kept
