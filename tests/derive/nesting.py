# SPDX-License-Identifier: Apache-2.0
"""Networks whose levels are nested: one set of weights, one ranking of its channels, norms per level."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeshift.core.values import ChannelGroup, Measurement, ModelRef, Proof
from edgeshift.derive.nested import nest
from edgeshift.formats import sparse_bytes
from edgeshift.graph import channel_groups
from edgeshift.models import build, example
from edgeshift.models.zoo.resnet import Pad
from edgeshift.portfolio import Draft, Portfolio

# Gone with the process.
_FOLDER = TemporaryDirectory(prefix="edgeshift-nested-")
# Kept share of each group's channels.
SHARES = (1.0, 0.75, 0.5)
HERE = "tests.derive.nesting"


class Whole(nn.Module):
    """Convolution, depthwise, residual blocks and a layer on flattened pixels; all numbers small and whole.

    The second block's shortcut puts new channels around the old ones, so that no order of the channels can be that
    of the file for all levels.

    No sum of such numbers is rounded, so outputs are equal whatever the order of channels.
    """

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8, eps=0.0)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.bn_depth = nn.BatchNorm2d(8, eps=0.0)
        self.mix = nn.Conv2d(8, 12, 1, bias=True)
        self.bn_mix = nn.BatchNorm2d(12, eps=0.0)
        self.one = nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.bn_one = nn.BatchNorm2d(8, eps=0.0)
        self.two = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.bn_two = nn.BatchNorm2d(12, eps=0.0)
        self.wide = Pad(1, 4, 4)
        self.three = nn.Conv2d(12, 20, 3, padding=1, bias=False)
        self.bn_three = nn.BatchNorm2d(20, eps=0.0)
        self.fc = nn.Linear(20 * 4, classes)
        whole_(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        x = torch.relu(self.bn_depth(self.depth(x)))
        x = torch.relu(self.bn_mix(self.mix(x)))
        y = torch.relu(self.bn_one(self.one(x)))
        x = torch.relu(x + self.bn_two(self.two(y)))
        x = torch.relu(self.wide(x) + self.bn_three(self.three(x)))
        return self.fc(x.flatten(1))


class Perceptron(nn.Module):
    """Three linear layers, biases and all, of small whole numbers."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.one = nn.Linear(3 * 2 * 2, 12)
        self.two = nn.Linear(12, 8)
        self.three = nn.Linear(8, classes)
        whole_(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(torch.relu(self.two(torch.relu(self.one(x.flatten(1))))))


def whole_(model: nn.Module, seed: int) -> None:
    """Small whole numbers for every parameter and norm, in place."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                low = 1 if "running_var" in name or ("bn" in name and "weight" in name) else -2
                high = 2 if "running_var" in name else 3
                tensor.copy_(torch.randint(low, high, tensor.shape, generator=source).float())
                tensor[tensor == 0] = 1.0


def whole(classes: int = 3) -> nn.Module:
    """See `Whole`."""
    return Whole(classes)


def perceptron(classes: int = 3) -> nn.Module:
    """See `Perceptron`."""
    return Perceptron(classes)


SMALL = ("whole", "perceptron")
NETS: dict[str, ModelRef] = {
    "whole": ModelRef(f"{HERE}:whole", 3, (3, 2, 2)),
    "perceptron": ModelRef(f"{HERE}:perceptron", 3, (3, 2, 2)),
    "resnet": ModelRef("resnet20", 4, (3, 8, 8), {"width": 8}),
    "vgg": ModelRef("vgg16_bn", 4, (3, 32, 32), {"widths": [8, 8, 12, 16, 16]}),
    "mobilenetv2": ModelRef("mobilenetv2", 4, (3, 16, 16), {"width": 0.25}),
}


def states(ref: ModelRef, *, own: bool = True, seed: int = 0) -> list[dict[str, Tensor]]:
    """The masked state of each level.

    Args:
        ref: Of the network.
        own: Whether norms and biases of masked layers differ between levels.
        seed: Of ranking and norms.
    """
    model = build(ref).eval()
    groups = channel_groups(model, example(ref))
    source = np.random.default_rng(seed)
    ranks = [source.permutation(group.channels) for group in groups]
    return [level(model, groups, ranks, share, own=own) for share in SHARES]


def level(
    model: nn.Module, groups: tuple[ChannelGroup, ...], ranks: list[Any], share: float, *, own: bool
) -> dict[str, Tensor]:
    """One level: the best channels by rank stay."""
    one = deepcopy(model)
    norms = {n for n, m in one.named_modules() if isinstance(m, nn.modules.batchnorm._NormBase)}
    tensors = {**dict(one.named_parameters()), **dict(one.named_buffers())}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if own and share < 1 and name.rpartition(".")[0] in norms and tensor.is_floating_point():
                # Four times a variance is twice a deviation: no root is rounded.
                tensor.mul_(4.0) if name.endswith("running_var") else tensor.add_(1.0)
        for group, rank in zip(groups, ranks, strict=True):
            gone = rank >= max(1, round(share * group.channels))
            for name, rows in group.rows.items():
                tensors[name][torch.from_numpy(rows[gone].reshape(-1))] = 0
    return {n: t.detach().clone() for n, t in one.state_dict().items()}


def source(folder: Path, ref: ModelRef, levels: list[dict[str, Tensor]]) -> Portfolio:
    """A portfolio of masked states, as much of one as nesting reads."""
    found = Portfolio.create(folder, ref, {"name": "none"}, {})
    for number, state in enumerate(levels):
        draft = Draft(
            name=f"level-{number}",
            recipe={},
            accuracy={"validation": 0.9 - number / 10},
            parameters=1000 - number,
            macs=1,
            sparsity=0.0,
            widths={},
            measurements=(
                Measurement("latency", 3.0 - number, "ms", p95=3.0 - number),
                Measurement("file_size", 1.0, "bytes"),
            ),
            proof=Proof(0.0, 0.0, 1, ("random",), 1e-9),
        )
        found = found.add(draft, {"masked": sparse_bytes({n: t.numpy() for n, t in state.items()})})
    return found


@cache
def nested(name: str) -> Portfolio:
    """The nested portfolio of a network; made once, whoever asks. Copy it before changing it."""
    folder = Path(_FOLDER.name)
    return nest(source(folder / name, NETS[name], states(NETS[name])), folder / f"{name}_nested")
