# SPDX-License-Identifier: Apache-2.0
"""Trains the neural optimizer: gradients through frozen predictors, and evolution as its expert."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeshift.core.errors import BadValue, NotInstalled
from edgeshift.core.progress import Progress, Silent
from edgeshift.plan.expert import Elites, improve, library
from edgeshift.plan.net import Net
from edgeshift.plan.neural import Family, Proposer, lattice
from edgeshift.plan.spaces.shape import Designs, Floats, Space

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Teaching:
    """How the optimizer is trained.

    Attributes:
        steps: Gradient steps.
        batch: Pairs of device and limits per step.
        hidden: Width of the three layers.
        heads: Designs per limit.
        levels: Limits in the lattice that is asked for at run time.
        rate: Of AdamW, one cycle.
        penalty: Gain lost per standard unit over a limit, in spreads of the gain.
        margin: Standard units the designs should stay below the limit.
        entropy: Weight of the logits' entropy, falling to 0 in the first half.
        samples: Designs the predictors are distilled from.
        epochs: Passes over them.
        experts: Made-up devices on which evolution shows what is possible; 0 = none.
        expert_rounds: Rounds of evolution on each, before the training and again in the middle of it.
        expert_children: Designs looked at per round.
        library: Designs of the experts that are kept beside the network.
        threads: Of torch.
    """

    steps: int = 3000
    batch: int = 128
    hidden: int = 256
    heads: int = 4
    levels: int = 16
    rate: float = 2e-3
    penalty: float = 6.0
    margin: float = 0.02
    entropy: float = 0.02
    samples: int = 20_000
    epochs: int = 15
    experts: int = 24
    expert_rounds: int = 60
    expert_children: int = 200
    library: int = 256
    threads: int = 1

    def check(self) -> "Teaching":
        """Self, or BadValue."""
        if min(self.steps, self.batch, self.hidden, self.heads, self.samples, self.epochs, self.threads) < 1:
            raise BadValue(
                "steps, batch, hidden, heads, samples, epochs and threads", vars(self), "at least 1"
            )
        if self.levels < 2 or min(self.experts, self.library) < 0 or self.expert_children < 2:
            got = (self.levels, self.experts, self.library, self.expert_children)
            raise BadValue("levels, experts, library and expert_children", got, "from 2, 0, 0 and 2")
        return self


def teach(family: Family, teaching: Teaching, seed: int = 0, progress: Progress | None = None) -> Proposer:
    """The optimizer for a family of devices.

    Scaling-Up's second approach (https://arxiv.org/abs/2009.00278): the design is the output of a network, and the
    loss goes through frozen predictors. Against the collapse to one design: temperature and entropy that fall,
    heads of which the best counts most, and expert iteration (https://arxiv.org/abs/1705.08439): evolution on made-up
    devices, judged by the predictors themselves, shows the heads what is possible, and goes on from what they propose
    in the middle of the training. The experts' best designs stay beside the network as its library.

    Args:
        family: Space, predictors, devices.
        teaching: Options.
        seed: Of every draw.
        progress: Who listens.
    """
    try:
        import torch
    except ImportError as error:
        raise NotInstalled("torch", "derive") from error
    teaching.check()
    threads = torch.get_num_threads()
    torch.set_num_threads(teaching.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            return _Teacher(family.check(), teaching, np.random.default_rng(seed)).run(progress or Silent())
    finally:
        torch.set_num_threads(threads)


class _Teacher:
    """State of one training."""

    def __init__(self, family: Family, teaching: Teaching, rng: np.random.Generator) -> None:
        self.family, self.teaching, self.rng = family, teaching, rng
        self.sizes = family.space.sizes
        designs = np.unique(spread_out(family.space, teaching.samples, rng), axis=0)
        rows = devices(family.descriptors, len(designs), rng)
        gains = np.asarray(family.gain(designs), float)
        costs = [np.asarray(cost(designs, rows), float) for cost in family.costs]
        self.low = np.array([c.min() for c in costs])
        self.high = np.array([float(np.quantile(c, 0.995)) for c in costs])
        self.gain_net = _distilled(family.space.one_hot(designs), gains, teaching, rng)
        wide = np.concatenate([family.space.one_hot(designs), rows.astype(np.float32)], 1)
        self.cost_nets = [_distilled(wide, c, teaching, rng) for c in costs]
        self.choices = _Choices(self.sizes)
        gates = family.space.gates
        self.gates = None if gates is None else tuple(_tensor(g) for g in gates)
        grid = lattice(self.low, self.high, 2 * teaching.levels).astype(float)
        rows = devices(family.descriptors, teaching.experts, rng)
        known = min(len(family.descriptors), teaching.experts)
        rows[:known] = family.descriptors[:known]
        self.archives = [Elites.none(row, grid, family.space) for row in rows]
        self.shown: tuple[Any, Any] | None = None

    def run(self, progress: Progress) -> Proposer:
        """Train and hand over."""
        import torch

        t = self.teaching
        inputs = self.family.descriptors.shape[1] + len(self.family.costs)
        net = _mlp((inputs, t.hidden, t.hidden, t.hidden, t.heads * sum(self.sizes)))
        optimizer = torch.optim.AdamW(net.parameters(), t.rate, weight_decay=1e-4)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, t.rate, total_steps=t.steps)
        with progress.task("teach the optimizer", t.steps) as step:
            for k in range(t.steps):
                if k in (0, t.steps // 2):
                    self._show(net if k else None)
                loss = self._loss(net, k / t.steps) + self._imitation(net)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                cycle.step()
                step(note=f"loss {float(loss.detach()):.3f}")
        grid = lattice(self.low, self.high, t.levels)
        kept = np.zeros((0, len(self.sizes)), np.int64), np.zeros(0)
        if self.archives and t.library:
            kept = library(self.archives, self.family, t.library)
        return Proposer(_numpy(net), self.sizes, t.heads, grid, *kept).check()

    def _pairs(self, n: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Descriptors and limits of n made-up devices."""
        import torch

        rows = devices(self.family.descriptors, n, self.rng)
        shape = (n, len(self.low))
        limits = self.low + self.rng.random(shape) * (self.high - self.low)
        if len(self.low) > 1:  # often only some of the limits bind
            limits = np.where(self.rng.random(shape) < 0.4, self.high, limits)
        return torch.from_numpy(rows).float(), torch.from_numpy(limits).float()

    def _loss(self, net: Any, share: float) -> "torch.Tensor":
        import torch

        t = self.teaching
        rows, limits = self._pairs(t.batch)
        logits = net(torch.cat([rows, limits], 1)).reshape(t.batch * t.heads, -1)
        temperature = 1.5 * (0.3 / 1.5) ** share
        relaxed, entropy = self.choices.straight_through(logits, temperature)
        if self.gates is not None:
            relaxed = relaxed * (relaxed @ self.gates[0] + self.gates[1])
        objective = -self.gain_net.standard(relaxed)
        wide = torch.cat([relaxed, rows.repeat_interleave(t.heads, 0)], 1)
        for i, cost in enumerate(self.cost_nets):
            over = cost(wide) - limits[:, i].repeat_interleave(t.heads) + t.margin
            objective = objective + t.penalty * over.clamp(min=0)
        objective = objective.reshape(t.batch, t.heads)
        weight = torch.softmax(-2 * objective.detach(), 1)
        bonus = t.entropy * max(0.0, 1 - 2 * share)
        loss: torch.Tensor = ((weight * objective).sum(1) + 0.3 * objective.mean(1)).mean() - bonus * entropy
        return loss

    def _imitation(self, net: Any) -> "torch.Tensor":
        """Cross entropy of the head that is nearest to what an expert found."""
        import torch

        if self.shown is None:
            return torch.zeros(())
        x, wanted = self.shown
        places = torch.from_numpy(self.rng.integers(0, len(x), min(64, len(x))))
        logits = net(x[places]).reshape(len(places), self.teaching.heads, -1)
        total = self.choices.cross_entropy(logits, wanted[places])
        loss: torch.Tensor = 2 * total.min(1).values.mean() / len(self.sizes)
        return loss

    def _show(self, net: Any) -> None:
        """Evolution on the experts' devices, from the heads' designs too, under the predictors themselves."""
        t, space = self.teaching, self.family.space
        inputs, wanted = [], []
        for archive in self.archives:
            if net is not None:
                proposer = Proposer(_numpy(net), self.sizes, t.heads, archive.limits.astype(np.float32))
                archive.update(self.family, space.settle(proposer.propose(archive.row)))
            improve(archive, self.family, t.expert_rounds, t.expert_children, self.rng)
            found = np.isfinite(archive.gains)
            rows = np.broadcast_to(archive.row, (int(found.sum()), len(archive.row)))
            inputs.append(np.concatenate([rows, archive.limits[found]], 1))
            wanted += [_bare(space, design) for design in archive.designs[found]]
        if wanted:
            self.shown = _tensor(np.concatenate(inputs)).float(), _tensor(np.stack(wanted))


def spread_out(space: Space, n: int, rng: np.random.Generator) -> Designs:
    """`(n, g)` designs of which half lean to the first or the last options, so that extremes are among them."""
    sizes = np.array(space.sizes)
    lean = rng.normal(0, 2, n) * (rng.random(n) < 0.5)
    chance = rng.random((n, len(sizes)))
    # The k-th of `size` options with probability growing or falling with k as exp(lean k / (size - 1)).
    steep = np.where(np.abs(lean) < 1e-3, 1e-3, lean)[:, None] * 2
    place = np.log1p(chance * np.expm1(steep)) / steep
    return space.settle(np.minimum((place * sizes).astype(np.int64), sizes - 1))


def devices(known: Floats, n: int, rng: np.random.Generator) -> Floats:
    """`(n, k)` descriptors: mixtures of two known devices with noise, so that few devices are not learnt by heart."""
    one, other = (known[rng.integers(0, len(known), n)] for _ in range(2))
    share = rng.random((n, 1)) * 0.5
    noise = rng.normal(0, 0.1, one.shape) * (len(known) > 1)
    return np.asarray(one * (1 - share) + other * share + noise)


def _mlp(sizes: Sequence[int]) -> Any:
    from torch import nn

    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _numpy(net: Any) -> Net:
    linear = [m for m in net if hasattr(m, "weight")]
    weights = tuple(np.ascontiguousarray(m.weight.detach().numpy().T, np.float32) for m in linear)
    return Net(weights, tuple(np.array(m.bias.detach().numpy(), np.float32) for m in linear))


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _bare(space: Space, design: Designs) -> Designs:
    """`(g,)` with -1 for choices inside blocks that are left out: nothing is to be learnt from them."""
    columns = space.one_hot(design[None])[0]
    starts = np.cumsum(space.sizes) - np.array(space.sizes)
    return np.where(columns[starts + design] > 0, design, -1)


@dataclass(frozen=True)
class _Frozen:
    """A network that can be differentiated by the design, near a predictor that need not be."""

    net: Any
    middle: float
    spread: float

    def standard(self, x: Any) -> Any:
        """`(n,)`, less its mean, over its spread."""
        return self.net(x)[:, 0]

    def __call__(self, x: Any) -> Any:
        """`(n,)` in the predictor's unit."""
        return self.standard(x) * self.spread + self.middle


def _distilled(x: Any, y: Floats, teaching: Teaching, rng: np.random.Generator) -> _Frozen:
    import torch

    net = _mlp((x.shape[1], teaching.hidden, teaching.hidden, 1))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-4)
    total = teaching.epochs * -(-len(x) // 256)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    inputs, middle, spread = _tensor(x), float(y.mean()), max(float(y.std()), 1e-9)
    target = _tensor((y - middle) / spread).float()
    for _ in range(teaching.epochs):
        for rows in _tensor(rng.permutation(len(x))).split(256):
            loss = torch.nn.functional.mse_loss(net(inputs[rows])[:, 0], target[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
            cycle.step()
    return _Frozen(net.requires_grad_(False), middle, spread)


class _Choices:
    """The columns of logits as choices; those of equal size go through torch together."""

    def __init__(self, sizes: Sequence[int]) -> None:
        starts = np.cumsum(sizes) - np.array(sizes)
        self.groups = []
        for size in sorted(set(sizes)):
            places = np.flatnonzero(np.array(sizes) == size)
            self.groups.append((_tensor(places), _tensor(starts[places][:, None] + np.arange(size))))

    def straight_through(self, logits: Any, temperature: float) -> Any:
        """One-hot forwards, Gumbel-softmax backwards (https://arxiv.org/abs/1611.01144); and the mean entropy."""
        import torch

        noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-9, 1 - 1e-7)))
        hard, entropy = torch.zeros_like(logits), torch.zeros(())
        for _, columns in self.groups:
            part = logits[:, columns]
            soft = torch.softmax((part + noise[:, columns]) / temperature, 2)
            one = torch.zeros_like(soft).scatter_(2, soft.argmax(2, keepdim=True), 1.0)
            hard = hard.index_add(1, columns.flatten(), (one + soft - soft.detach()).flatten(1))
            logs = torch.log_softmax(part, 2)
            entropy = entropy - (logs.exp() * logs).sum((1, 2)).mean()
        return hard, entropy

    def cross_entropy(self, logits: Any, wanted: Any) -> Any:
        """`(n, heads)` for logits `(n, heads, columns)` and designs `(n, g)`; -1 costs nothing."""
        import torch

        total = torch.zeros(logits.shape[:2])
        for places, columns in self.groups:
            logs = torch.log_softmax(logits[:, :, columns], 3)
            target = wanted[:, places]
            index = target.clamp(min=0)[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
            total = total - (logs.gather(3, index)[..., 0] * (target >= 0)[:, None, :]).sum(2)
        return total
