# SPDX-License-Identifier: Apache-2.0
"""Once-for-all networks with their latencies, and the two frozen predictors that the planners share."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue
from edgeshift.plan.net import Net
from edgeshift.plan.spaces.ofa import RESOLUTIONS, Ofa

SPACE = Ofa()
# Test designs are the last ones of the table: no predictor learns from them.
TEST = 1000


def data(*parts: str) -> Path:
    """A file below the folder of data sets.

    Raises:
        BadValue: If EDGESHIFT_DATA is not set.
    """
    root = os.environ.get("EDGESHIFT_DATA")
    if root is None:
        raise BadValue("EDGESHIFT_DATA", root, "the folder of data sets")
    return Path(root, "latency", *parts)


@dataclass(frozen=True)
class Tables:
    """What was measured.

    Attributes:
        designs: `(5000, 46)`.
        latency: `(5000, 12)` ms per batch.
        devices: 12 names, `<chip>_<batch>`.
        references: 20 designs that are measured on every device.
    """

    designs: NDArray[np.int64]
    latency: NDArray[np.float64]
    devices: tuple[str, ...]
    references: NDArray[np.int64]


def tables() -> Tables:
    """The staged table."""
    raw = np.load(data("help_ofa", "ofa_latency.npz"))
    rows = np.concatenate(
        [
            np.searchsorted((3, 5, 7), raw["ks"]),
            np.searchsorted((3, 4, 6), raw["e"]),
            raw["d"].astype(int) - 2,
            np.searchsorted(RESOLUTIONS, raw["r"])[:, None],
        ],
        1,
    ).astype(np.int64)
    # 10 reference networks of the set and 10 more drawn once, all outside the test designs.
    own = raw["help_ref_idx"].astype(np.int64)
    free = np.setdiff1d(np.arange(len(rows) - TEST), own)
    more = np.random.default_rng(0).choice(free, 20 - len(own), replace=False)
    devices = tuple(map(str, raw["devices"]))
    return Tables(SPACE.settle(rows), raw["latency_ms"].astype(float), devices, np.concatenate([own, more]))


def accuracy_net() -> Net:
    """The published accuracy predictor."""
    raw = np.load(data("help_ofa", "ofa_acc_predictor.npz"))
    places = ("0", "2", "4", "6")
    weights = tuple(np.ascontiguousarray(raw[f"{p}_weight"].T, np.float32) for p in places)
    return Net(weights, tuple(raw[f"{p}_bias"].astype(np.float32) for p in places)).check()


class Accuracy:
    """Designs -> predicted ImageNet top-1 in points."""

    def __init__(self) -> None:
        self.net = accuracy_net()
        self.bucket = np.array([(r - 112) // 16 for r in RESOLUTIONS])

    def __call__(self, designs: NDArray[np.int64]) -> NDArray[np.float64]:
        """`(n,)`."""
        x = np.zeros((len(designs), 128), np.float32)
        x[:, :120] = SPACE.one_hot(designs)[:, :120]
        x[np.arange(len(designs)), 120 + self.bucket[designs[:, 45]]] = 1
        return 100 * self.net(x)[:, 0].astype(float)


def numbers(designs: NDArray[np.int64]) -> NDArray[np.float32]:
    """`(n, 137)`: kernels, expansions, depths as columns, and the resolution as two numbers."""
    size = (np.array(RESOLUTIONS)[designs[:, 45]] / 224).astype(np.float32)
    return np.concatenate([SPACE.one_hot(designs)[:, :135], size[:, None], size[:, None] ** 2], 1)


class Latency:
    """Designs and descriptors -> log latency in standard units of the device: the descriptor network.

    What the first layer makes of the designs is kept for the two arrays that were asked about last: an
    optimizer's library is the same array for every device.
    """

    def __init__(self, net: Net) -> None:
        self.first = net.weights[0]
        self.rest = Net(net.weights[1:], net.biases[1:])
        self.bias = net.biases[0]
        self.held: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def __call__(self, designs: NDArray[np.int64], descriptors: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(n,)`; descriptors `(n, 21)`, or one row repeated."""
        width = self.first.shape[0] - descriptors.shape[1]
        if descriptors.strides[0] == 0:  # one device: its part is the same for all
            device = descriptors[:1].astype(np.float32) @ self.first[width:] + self.bias
        else:
            device = descriptors.astype(np.float32) @ self.first[width:] + self.bias
        hidden = self._designs(designs, width) + device
        return self.rest(np.maximum(hidden, 0, out=hidden))[:, 0].astype(float)

    def _designs(self, designs: NDArray[np.int64], width: int) -> NDArray[np.float32]:
        for place, (known, part) in enumerate(self.held):
            if known is designs:
                self.held.append(self.held.pop(place))
                return part
        part = numbers(designs) @ self.first[:width]
        self.held = [*self.held, (designs, part)][-2:]
        return part


def descriptor(latencies: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """`(21,)` descriptor of a device from its references, and mean and spread of their logs."""
    y = np.log(latencies)
    m, s = float(y.mean()), float(y.std())
    return np.concatenate([(y - m) / s, [np.log(s)]]), m, s


def latency_net(table: Tables, sources: list[int], seed: int, steps: int = 3000) -> Net:
    """The descriptor network of these devices: 2 layers of 128, Huber loss, devices mixed and with noise."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train = len(table.designs) - TEST
    x = torch.from_numpy(numbers(table.designs[:train]))
    codes, targets = [], []
    for j in sources:
        q, m, s = descriptor(table.latency[table.references, j])
        codes.append(q)
        targets.append((np.log(table.latency[:train, j]) - m) / s)
    q = torch.tensor(np.array(codes), dtype=torch.float32)
    y = torch.tensor(np.array(targets), dtype=torch.float32)
    net = torch.nn.Sequential(
        torch.nn.Linear(137 + 21, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        i = torch.from_numpy(rng.integers(0, train, 384))
        a, b = (torch.from_numpy(rng.integers(0, len(sources), 384)) for _ in range(2))
        share = torch.from_numpy(rng.random((384, 1)) * 0.5).float()
        code = q[a] * (1 - share) + q[b] * share + 0.1 * torch.randn(384, q.shape[1])
        goal = y[a, i] * (1 - share[:, 0]) + y[b, i] * share[:, 0]
        loss = torch.nn.functional.huber_loss(net(torch.cat([x[i], code], 1))[:, 0], goal, delta=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    linear: list[Any] = [m for m in net if isinstance(m, torch.nn.Linear)]
    weights = tuple(np.ascontiguousarray(m.weight.detach().numpy().T, np.float32) for m in linear)
    return Net(weights, tuple(np.array(m.bias.detach().numpy()) for m in linear)).check()
