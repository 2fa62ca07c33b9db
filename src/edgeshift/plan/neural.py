# SPDX-License-Identifier: Apache-2.0
"""A network that names designs for a device and its limits, with no search; scored, and the best one taken."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, BadWeights
from edgeshift.core.files import write_bytes
from edgeshift.plan.net import Net
from edgeshift.plan.problem import Function
from edgeshift.plan.spaces.shape import Designs, Floats, Space

# Designs `(n, g)` and one descriptor a row `(n, k)` -> `(n,)` in standard units of the device.
DeviceCost = Callable[[Designs, Floats], Floats]


@dataclass(frozen=True)
class Family:
    """The same space on many devices: what the neural optimizer learns from.

    Costs are in standard units of the device, `(log cost - m) / s` with m and s the mean and spread of the logs of
    its reference designs, so that one network serves a fast and a slow device alike.

    Attributes:
        space: What can be chosen.
        gain: Designs -> `(n,)`; the same on every device.
        costs: Each of designs and descriptors.
        descriptors: `(m, k)`: the devices to learn from; k may be 0 for a family of one.
    """

    space: Space
    gain: Function
    costs: tuple[DeviceCost, ...]
    descriptors: Floats

    def check(self) -> "Family":
        """Self, or BadValue."""
        if self.descriptors.ndim != 2 or not len(self.descriptors) or not np.isfinite(self.descriptors).all():
            raise BadValue(
                "descriptors", self.descriptors.shape, "(devices, features), finite, at least one device"
            )
        if not self.costs:
            raise BadValue("costs", (), "at least one")
        return self


@dataclass(frozen=True)
class Proposer:
    """The trained optimizer: one pass gives the designs for a lattice of limits, `heads` for each.

    Attributes:
        net: Descriptor and limits -> logits, `heads` times one number per option.
        sizes: Options of each choice.
        heads: Designs per limit.
        lattice: `(levels, costs)`: the limits that are asked for, in standard units.
        library: `(n, g)`: designs that served many devices well in training; on a device only their costs are new.
        library_gains: `(n,)`: their gains.
    """

    net: Net
    sizes: tuple[int, ...]
    heads: int
    lattice: NDArray[np.float32]
    library: Designs = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    library_gains: Floats = field(default_factory=lambda: np.zeros(0))
    _groups: tuple[tuple[Designs, Designs], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = np.cumsum(self.sizes) - np.array(self.sizes)
        groups = []
        for size in sorted(set(self.sizes)):
            places = np.flatnonzero(np.array(self.sizes) == size)
            groups.append((places, starts[places][:, None] + np.arange(size)))
        object.__setattr__(self, "_groups", tuple(groups))
        if not len(self.library):
            object.__setattr__(self, "library", np.zeros((0, len(self.sizes)), np.int64))

    def check(self) -> "Proposer":
        """Self, or BadValue."""
        outputs = self.heads * sum(self.sizes)
        if self.net.check().weights[-1].shape[1] != outputs:
            raise BadValue("outputs of the network", self.net.weights[-1].shape[1], str(outputs))
        if self.library.shape != (len(self.library_gains), len(self.sizes)):
            raise BadValue("library", self.library.shape, f"({len(self.library_gains)}, {len(self.sizes)})")
        return self

    def propose(self, descriptor: Floats, limits: Floats | None = None) -> Designs:
        """`(n, g)` distinct rows, not settled.

        Args:
            descriptor: `(k,)` of the device.
            limits: `(levels, costs)` in standard units; None = the lattice.
        """
        asked = self.lattice if limits is None else np.asarray(limits, np.float32)
        x = np.empty((len(asked), len(descriptor) + asked.shape[1]), np.float32)
        x[:, : len(descriptor)] = descriptor
        x[:, len(descriptor) :] = asked
        logits = self.net(x).reshape(len(asked) * self.heads, -1)
        rows = np.empty((len(logits), len(self.sizes)), np.int64)
        for places, columns in self._groups:
            rows[:, places] = logits[:, columns].argmax(2)
        return np.asarray(np.unique(rows, axis=0))

    def save(self, path: Path) -> None:
        """Write it as one safetensors file."""
        from safetensors.numpy import save

        tensors = {f"weight.{i}": w for i, w in enumerate(self.net.weights)}
        tensors |= {f"bias.{i}": b for i, b in enumerate(self.net.biases)}
        # One key: the order of several is not kept, and equal optimizers shall be equal files.
        facts = {"optimizer": json.dumps({"sizes": self.sizes, "heads": self.heads})}
        write_bytes(path, save({**tensors, **self._arrays()}, metadata=facts))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"lattice": self.lattice, "library": self.library, "library_gains": self.library_gains}

    @staticmethod
    def load(path: Path) -> "Proposer":
        """The optimizer in a file that `save` wrote.

        Raises:
            BadWeights: If the file is none.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                facts = json.loads((file.metadata() or {})["optimizer"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            depth = sum(key.startswith("weight.") for key in tensors)
            weights = tuple(tensors[f"weight.{i}"] for i in range(depth))
            net = Net(weights, tuple(tensors[f"bias.{i}"] for i in range(depth)))
            sizes = tuple(facts["sizes"])
            arrays = {name: tensors[name] for name in ("lattice", "library", "library_gains")}
            return Proposer(net, sizes, int(facts["heads"]), **arrays).check()
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise BadWeights(f"{path} must be a trained optimizer, got: {error}") from error


@dataclass(frozen=True)
class DeviceFront:
    """What the optimizer offers one device: answers every limit on it, and never less for a wider one.

    The offers do not hang on the limit that is asked, only which of them fit does: accuracy is monotone in
    every limit by construction.

    Attributes:
        designs: `(n, g)`, settled.
        gains: `(n,)`.
        costs: `(c, n)`, standard units.
    """

    designs: Designs
    gains: Floats
    costs: Floats

    def pick(self, limits: Floats) -> int | None:
        """Place of the best design with every cost at most `limits (c,)`; None if there is none."""
        inside = (self.costs <= limits[:, None]).all(0)
        if not inside.any():
            return None
        return int(np.where(inside, self.gains, -np.inf).argmax())


def device_front(proposer: Proposer, family: Family, descriptor: Floats) -> DeviceFront:
    """The optimizer's designs for one device, scored by the family's predictors: no search."""
    named = family.space.settle(proposer.propose(descriptor))
    scored = [
        (proposer.library, proposer.library_gains, _costs(family, proposer.library, descriptor)),
        (named, np.asarray(family.gain(named), float), _costs(family, named, descriptor)),
    ]
    designs, gains, costs = zip(*scored, strict=True)
    return DeviceFront(np.concatenate(designs), np.concatenate(gains), np.concatenate(costs, 1))


def _costs(family: Family, designs: Designs, descriptor: Floats) -> Floats:
    if not len(designs):
        return np.zeros((len(family.costs), 0))
    repeated = np.broadcast_to(descriptor, (len(designs), len(descriptor)))
    return np.array([cost(designs, repeated) for cost in family.costs], float)


def lattice(low: Floats, high: Floats, levels: int) -> NDArray[np.float32]:
    """`(rows, costs)`: all limits tightened together, and each alone with the others wide open.

    Args:
        low: `(c,)` the tightest limits.
        high: `(c,)` the widest.
        levels: Steps from one to the other.
    """
    steps = np.linspace(0, 1, levels)[:, None]
    together = low + steps * (high - low)
    rows = [together]
    if len(low) > 1:
        for i in range(len(low)):
            alone = np.tile(high, (levels, 1))
            alone[:, i] = together[:, i]
            rows.append(alone)
    return np.unique(np.concatenate(rows), axis=0).astype(np.float32)
