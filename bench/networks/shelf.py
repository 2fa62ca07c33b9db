# SPDX-License-Identifier: Apache-2.0
"""Networks found by their file: `build`, `example`, `SITES`, and maybe `VARIANTS` and `SMALL`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from bench.networks.plant import KINDS, Planted, Site, plant_
from bench.networks.settle import measure_, scatter_
from edgeshift.core.errors import UnknownName
from edgeshift.core.seeds import seed_for

_CALIBRATION = 8  # samples: the fewest that keep batch-norm variances steady at 1x1 feature maps


@dataclass(frozen=True)
class Network:
    """One network of the shelf.

    Attributes:
        name: File name, with `-variant` where the file has several; `micro.name` for the small ones.
        build: Builds it with options of its own; weights are random.
        example: Batch size -> its inputs.
        sites: Where dead channels may be planted.
        small: Options that make it a few layers deep, for tests.
    """

    name: str
    build: Callable[..., nn.Module]
    example: Callable[..., tuple[Tensor, ...]]
    sites: tuple[Site, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)


def names() -> tuple[str, ...]:
    """Every network, in order of name."""
    return tuple(sorted(_shelf()))


def find(name: str) -> Network:
    """The network of that name.

    Raises:
        UnknownName: If there is none.
    """
    if name not in _shelf():
        raise UnknownName("network", name, names())
    return _shelf()[name]


def make(
    name: str, seed: int = 0, batch: int = 2, *, small: bool = False, **options: Any
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network in eval mode with settled norms, and inputs for it; the same for the same arguments.

    Args:
        name: One of `names()`.
        seed: Seeds the weights and norm statistics.
        batch: Samples in the inputs.
        small: Few layers instead of the published depth.
        options: Go to the file's `build`, over the variant's own.

    Raises:
        UnknownName: If there is no such network.
    """
    network = find(name)
    chosen = {**network.options, **(network.small if small else {}), **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "network", name))
        model = network.build(**chosen).eval()
    scatter_(model, seed_for(seed, "norms", name))
    measure_(model, network.example(_CALIBRATION), seed_for(seed, "statistics", name))
    return model, network.example(batch)


def make_planted(
    name: str,
    share: float,
    seed: int = 0,
    batch: int = 2,
    *,
    small: bool = False,
    kinds: Sequence[str] = KINDS,
) -> tuple[nn.Module, tuple[Tensor, ...], tuple[Planted, ...]]:
    """A network with a share of its channels dead, its inputs, and what was planted.

    The running statistics are measured again afterwards, as training would: else a network with 90 % dead
    channels hardly depends on its input, and an error could hide.

    Args:
        name: One of `names()`.
        share: Dead units / all units of each site, above 0 and below 1.
        seed: Seeds weights, statistics and the choice of channels.
        batch: Samples in the inputs.
        small: Few layers instead of the published depth.
        kinds: See `plant_`.

    Raises:
        UnknownName: If there is no such network.
        BadValue: If `share` or a kind is out of range.
        NoEffect: If nothing could be planted.
    """
    network = find(name)
    model, inputs = make(name, seed, batch, small=small)
    planted = plant_(model, network.sites, share, seed, kinds)
    measure_(model, network.example(_CALIBRATION), seed_for(seed, "statistics", name))
    return model, inputs, planted


@cache
def _shelf() -> dict[str, Network]:
    found = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        module = import_module(f"bench.networks.{path.stem}")
        if "build" in vars(module):
            found.update(_of_file(path.stem, module))
        elif "Micro" in vars(module):
            found.update(_micro(path.stem, module))
    return found


def _of_file(stem: str, module: ModuleType) -> dict[str, Network]:
    variants: Mapping[str, Mapping[str, Any]] = vars(module).get("VARIANTS", {"": {}})
    small = vars(module).get("SMALL", {})
    joined = {f"{stem}-{variant}" if variant else stem: options for variant, options in variants.items()}
    return {
        name: Network(name, module.build, module.example, module.SITES, options, small)
        for name, options in joined.items()
    }


def _micro(stem: str, module: ModuleType) -> dict[str, Network]:
    found = {}
    for kind in module.Micro.__subclasses__():
        snake = re.sub("(?<!^)([A-Z])", r"_\1", kind.__name__).lower()
        name = f"{stem}.{snake}"
        found[name] = Network(name, kind, kind.example, kind.SITES)
    return found
