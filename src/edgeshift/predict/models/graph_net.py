# SPDX-License-Identifier: Apache-2.0
"""A graph network over fused kernels corrects an analytic estimate of each; a network costs their sum."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.predict.intervals import conformal, interval
from edgeshift.predict.layers import Array, features, graphs, roughly
from edgeshift.predict.models.shape import Fitted, Model
from edgeshift.predict.network import Network, count_matrix
from edgeshift.predict.samples import Prediction, Samples
from edgeshift.predict.trees import needed

if TYPE_CHECKING:
    import torch

Index = NDArray[np.int64]
# Share of the measured networks that the weights never see: their errors make the interval.
HELD_OUT = 0.15


@dataclass(frozen=True)
class GraphNet(Model):
    """PerfSAGE's idea made small: GraphSAGE with mean aggregation, a sum over nodes, counts beside it.

    Unlike the paper, a node is a fused kernel, messages pass both ways, the network learns the log of a factor on a
    plain estimate of each kernel (mean pooling would lose size), all devices of the samples share the layers, and
    the mean of several draws is taken. Errors are in log cost.

    Attributes:
        width: Of the hidden layers.
        hops: Rounds of messages.
        steps: Of the optimiser.
        draws: Networks whose mean is taken.
        batch: Networks per step.
        least: Measured networks it takes.
    """

    card: ClassVar[Card] = Card(
        name="graph_net",
        says="GraphSAGE over kernels that corrects an analytic estimate; devices share its layers.",
        paper="Chai et al., 2023 (PerfSAGE)",
        link="https://arxiv.org/abs/2301.10999",
        needs="measurements",
    )

    width: int = 64
    hops: int = 1
    steps: int = 800
    draws: int = 2
    batch: int = 64
    least: int = 30

    def __post_init__(self) -> None:
        if min(self.width, self.steps, self.draws, self.batch) < 1 or self.hops < 0:
            got = (self.width, self.steps, self.draws, self.batch, self.hops)
            raise BadValue("width, steps, draws, batch and hops", got, "at least 1, hops at least 0")

    def fit(self, samples: Samples, target: str, seed: int = 0) -> Fitted:
        """See `Model.fit`; needs graphs, `least` networks measured on the target, and torch."""
        networks = graphs(samples, "graph_net")
        known = (
            np.flatnonzero(~np.isnan(samples.column(target)))
            if target in samples.devices
            else np.empty(0, int)
        )
        if len(known) < self.least:
            raise BadValue(f"measurements on {target} for graph_net", len(known), f"at least {self.least}")
        needed("torch", "torch")
        from edgeshift.predict.message import Net, train

        held = np.random.default_rng(seed).permutation(known)[: max(5, int(HELD_OUT * len(known)))]
        cost = np.log(samples.cost)
        cost[held] = np.nan
        at = samples.devices.index(target)
        seen = np.flatnonzero(~np.isnan(cost).all(axis=1))
        batch = joined([networks[i] for i in seen])
        scale = Scale.of(batch)
        nets: list[Net] = [
            train(scale(batch), cost[seen], at, self.width, self.hops, self.steps, self.batch, seed + draw)
            for draw in range(self.draws)
        ]
        fitted = Learnt(tuple(nets), scale, at, np.zeros(1), samples.unit)
        errors = np.log(samples.cost[held, at]) - fitted.log_cost([networks[i] for i in held])
        return Learnt(tuple(nets), scale, at, errors, samples.unit)


@dataclass(frozen=True)
class Graphs:
    """Several networks as one graph without edges between them.

    Attributes:
        x: `(kernels, d)` features.
        plain: `(kernels,)` plain estimates, ms.
        owner: `(kernels,)` place of the network.
        source: `(edges,)` kernel that is read.
        sink: `(edges,)` kernel that reads it.
        counts: `(networks, c)`.
    """

    x: Array
    plain: Array
    owner: Index
    source: Index
    sink: Index
    counts: Array

    def part(self, which: Index) -> "Graphs":
        """Some of the networks, in the order given."""
        place = np.full(len(self.counts), -1)
        place[which] = np.arange(len(which))
        mine = place[self.owner] >= 0
        moved = np.cumsum(mine) - 1
        edges = mine[self.source]
        return Graphs(
            self.x[mine],
            self.plain[mine],
            place[self.owner[mine]],
            moved[self.source[edges]],
            moved[self.sink[edges]],
            self.counts[which],
        )

    def tensors(self) -> "tuple[torch.Tensor, ...]":
        """The fields as torch tensors, in order."""
        import torch

        floats = [torch.tensor(a, dtype=torch.float32) for a in (self.x, self.plain, self.counts)]
        whole = [torch.tensor(a) for a in (self.owner, self.source, self.sink)]
        return floats[0], floats[1], whole[0], whole[1], whole[2], floats[2]


def joined(networks: "list[Network]") -> Graphs:
    """All networks in one graph."""
    rows = [network.kernel_rows for network in networks]
    start = np.cumsum([0, *(len(r) for r in rows)])
    pairs = [
        (int(start[i]) + read, int(start[i]) + place)
        for i, network in enumerate(networks)
        for place, kernel in enumerate(network.kernels)
        for read in kernel.inputs
        if read >= 0
    ]
    edges = np.array(pairs, np.int64).reshape(-1, 2)
    everything = np.concatenate(rows)
    owner = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    depth = np.log1p(everything[:, -1:])
    x = np.hstack([features(everything), depth])
    return Graphs(x, roughly(everything), owner, edges[:, 0], edges[:, 1], count_matrix(networks))


@dataclass(frozen=True)
class Scale:
    """Means and spreads of the columns, of the networks that were learnt from.

    Attributes:
        x: `(2, d)` of the kernels.
        counts: `(2, c)` of the networks.
    """

    x: Array
    counts: Array

    @classmethod
    def of(cls, graph: Graphs) -> "Scale":
        """That of some networks."""
        return cls(*(np.stack([a.mean(axis=0), a.std(axis=0) + 1e-6]) for a in (graph.x, graph.counts)))

    def __call__(self, graph: Graphs) -> Graphs:
        """The same networks, their columns at mean 0 and spread 1, cut at 5 spreads."""
        x, counts = (
            np.clip((a - s[0]) / s[1], -5, 5) for a, s in ((graph.x, self.x), (graph.counts, self.counts))
        )
        return Graphs(x, graph.plain, graph.owner, graph.source, graph.sink, counts)


@dataclass(frozen=True)
class Learnt(Fitted):
    """What `GraphNet` learnt.

    Attributes:
        nets: Their mean is taken.
        scale: Of the columns.
        at: Column of the target.
        residuals: Of networks the weights never saw, log.
        unit: Of the costs.
    """

    nets: tuple[Any, ...]
    scale: Scale
    at: int
    residuals: Array
    unit: str

    def log_cost(self, networks: "list[Network]") -> Array:
        """`(n,)` mean of the nets."""
        import torch

        given = self.scale(joined(networks)).tensors()
        with torch.inference_mode():
            found = [net(*given)[:, self.at].double().numpy() for net in self.nets]
        return np.asarray(np.mean(found, axis=0), np.float64)

    def predict(self, queries: Samples, level: float = 0.9) -> Prediction:
        """See `Fitted.predict`; needs graphs."""
        value = self.log_cost(list(graphs(queries, "graph_net")))
        source = f"graph_net, {len(self.nets)} nets"
        return interval(value, conformal(self.residuals, level), level, source, self.unit)
