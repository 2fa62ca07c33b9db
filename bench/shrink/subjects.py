# SPDX-License-Identifier: Apache-2.0
"""The networks that are shrunk: those of `bench.networks` at their published depth, and the zoo's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.networks import KINDS, Planted, Site, plant_
from bench.networks import make_planted as make_planted_copy
from bench.networks import names as copies
from bench.networks.settle import measure_, scatter_
from edgeshift.core.seeds import seed_for
from edgeshift.models import build, example, resolve

_CALIBRATION = 8  # samples, as in bench.networks.shelf


def _chain(layers: Sequence[tuple[str, ...]], last: str) -> tuple[Site, ...]:
    """A site for every layer that only the one after it reads."""
    readers = [layer[0] for layer in layers[1:]] + [last]
    return tuple(Site("", writes=layer, reads=(r,)) for layer, r in zip(layers, readers, strict=True))


_RESNET = (Site("layer*.*", writes=("conv1", "bn1"), reads=("conv2",)),)
_VGG = [(f"conv{s}_{i}", f"bn{s}_{i}") for s, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
_MOBILENET_STREAMS = ((1, 2), (3, 4, 5), (6, 7, 8, 9), (10, 11, 12), (13, 14, 15))
ZOO: dict[str, tuple[Site, ...]] = {
    # Shortcut A pads the stream with channels of zeros at fixed places: only the blocks' inside may go.
    "resnet20": _RESNET,
    "resnet56": _RESNET,
    "resnet110": _RESNET,
    "vgg16_bn": _chain(_VGG, "fc"),
    "mobilenetv2": (
        Site("blocks.*", writes=("expand", "filter"), reads=("project.conv",)),
        *(
            Site("", writes=tuple(f"blocks.{i}.project" for i in blocks), kinds=("zero",))
            for blocks in _MOBILENET_STREAMS
        ),
        Site("", writes=("last",), reads=("fc",)),
    ),
    # Every later norm makes such a zero a constant of its own, which padded 3x3 convolutions read.
    "densenet40_12": (Site("features.*.layers.*", writes=("conv1",), kinds=("zero",)),),
}


def names() -> tuple[str, ...]:
    """All networks of the figures; the small ones of one operator each are for tests."""
    return (*(name for name in copies() if not name.startswith("micro.")), *ZOO)


def make_planted(
    name: str, share: float, seed: int = 0, kinds: Sequence[str] = KINDS
) -> tuple[nn.Module, tuple[Tensor, ...], tuple[Planted, ...]]:
    """See `bench.networks.make_planted`; also takes the zoo's names."""
    if name not in ZOO:
        return make_planted_copy(name, share, seed, kinds=kinds)
    ref = resolve(name)
    model = build(ref, seed=seed).eval()
    calibration = (example(ref, _CALIBRATION, seed),)
    scatter_(model, seed_for(seed, "norms", name))
    measure_(model, calibration, seed_for(seed, "statistics", name))
    planted = plant_(model, ZOO[name], share, seed, kinds)
    measure_(model, calibration, seed_for(seed, "statistics", name))
    return model, (example(ref, 2, seed + 1),), planted


def parameters(model: nn.Module) -> int:
    """Numbers in all parameters; shared ones count once."""
    return sum(p.numel() for p in model.parameters())


def gone(before: nn.Module, after: nn.Module, planted: Planted) -> int:
    """Units of a place that the smaller model no longer has, read off the shape of the tensor that counts them."""
    strip = planted.place.weights[0]
    sizes = [_tensors(model)[strip.tensor].shape[strip.axis] for model in (before, after)]
    return (sizes[0] - sizes[1]) // (strip.repeat * strip.block)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def one_thread() -> None:
    """Torch computes on one core from here on."""
    torch.set_num_threads(1)
