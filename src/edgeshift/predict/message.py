# SPDX-License-Identifier: Apache-2.0
"""The graph network behind `graph_net`, and its training loop. Needs torch."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from edgeshift.predict.models.graph_net import Graphs


class Net(nn.Module):
    """Kernels -> log cost of each network on each device."""

    def __init__(self, inputs: int, counts: int, devices: int, width: int, hops: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.hops = nn.ModuleList([nn.Linear(3 * width, width) for _ in range(hops)])
        self.middle = nn.Linear(width, width)
        self.factor = nn.Linear(width, devices)
        self.call = nn.Parameter(torch.full((devices,), -4.0))
        # What adds up over kernels is not all: counts may bend the sum. Starts at no effect.
        self.bend = nn.Linear(counts, devices)
        nn.init.zeros_(self.bend.weight)
        nn.init.zeros_(self.bend.bias)

    def forward(
        self, x: Tensor, plain: Tensor, owner: Tensor, source: Tensor, sink: Tensor, counts: Tensor
    ) -> Tensor:
        """`(networks, devices)` log cost."""
        h = functional.gelu(self.first(x))
        for hop in self.hops:
            h = h + functional.gelu(hop(torch.cat([h, mean(h, source, sink), mean(h, sink, source)], 1)))
        h = h + functional.gelu(self.middle(h))
        ms = plain[:, None] * torch.exp(self.factor(h).clamp(-8, 8))
        total = torch.zeros(len(counts), ms.shape[1]).index_add_(0, owner, ms) + torch.exp(self.call)
        bent: Tensor = torch.log(total) + self.bend(counts)
        return bent


def mean(h: Tensor, source: Tensor, sink: Tensor) -> Tensor:
    """Mean over what flows into each node; 0 where nothing does."""
    total = torch.zeros_like(h).index_add_(0, sink, h[source])
    many = torch.zeros(len(h)).index_add_(0, sink, torch.ones(len(sink)))
    return total / many.clamp(min=1)[:, None]


def train(
    graph: "Graphs",
    log_cost: NDArray[np.float64],
    at: int,
    width: int,
    hops: int,
    steps: int,
    batch: int,
    seed: int,
) -> Net:
    """A net that knows the costs that are not NaN; the target's errors weigh as much as all others' together.

    Args:
        graph: The networks, scaled.
        log_cost: `(networks, devices)`.
        at: Column of the target.
        width: Of the hidden layers.
        hops: Rounds of messages.
        steps: Of AdamW with one cycle of its rate.
        batch: Networks per step.
        seed: Of weights and batches.
    """
    source = np.random.default_rng(seed)
    truth = torch.tensor(log_cost, dtype=torch.float32)
    weight = torch.full((truth.shape[1],), 1.0 / max(1, truth.shape[1] - 1))
    weight[at] = 1.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Net(graph.x.shape[1], graph.counts.shape[1], truth.shape[1], width, hops)
    adam = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=steps)
    for _ in range(steps):
        drawn = source.choice(len(truth), min(batch, len(truth)), replace=False)
        error = net(*graph.part(drawn).tensors()) - truth[drawn]
        known = ~torch.isnan(error)
        loss = (error.abs() * weight)[known].sum() / weight.expand_as(error)[known].sum()
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        adam.step()
        cycle.step()
    return net.eval()
