# SPDX-License-Identifier: Apache-2.0
"""Masks layer by layer, with an exact count in each. Methods that move zeros about share it."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.sparsity.allocation import counts, erk, uniform
from edgeshift.sparsity.patterns.shape import best
from edgeshift.train.cut import maskable

ALLOCATIONS = {"erk": erk, "uniform": uniform}
STARTS = ("random", "magnitude")


def check_allocation(allocation: str) -> None:
    """Raise BadValue unless there is such an allocation."""
    if allocation not in ALLOCATIONS:
        raise BadValue("allocation", allocation, f"one of {', '.join(ALLOCATIONS)}")


def free_weights(model: nn.Module, exclude: tuple[str, ...]) -> dict[str, nn.Parameter]:
    """The maskable weights that no glob of `exclude` matches.

    Raises:
        BadValue: If a glob matches no parameter, or no weight is left.
    """
    parameters = dict(model.named_parameters())
    for glob in exclude:
        if not any(fnmatchcase(name, glob) for name in parameters):
            raise BadValue(
                "exclude", glob, f"a glob that matches a parameter such as {next(iter(parameters))}"
            )
    found = {n: parameters[n] for n in maskable(model) if not any(fnmatchcase(n, g) for g in exclude)}
    if not found:
        raise BadValue("weights to mask", [], "at least one convolution or linear weight")
    return found


def layer_counts(weights: Mapping[str, Tensor], keep: float, allocation: str) -> dict[str, int]:
    """Weights to keep of each layer; `round(keep * all)` together."""
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    return counts(sizes, ALLOCATIONS[allocation](shapes, keep), round(keep * sum(sizes.values())))


def top(score: Tensor, count: int) -> Tensor:
    """Bool of the score's shape, exactly `count` true: the highest, the first of equals."""
    return best(score.flatten(), count).reshape(score.shape)


def begin_masks(
    weights: Mapping[str, Tensor], keep: float, allocation: str, start: str, seed: int
) -> dict[str, Tensor]:
    """First masks, with `layer_counts` in each layer: drawn at random, or the largest weights."""
    masks = {}
    for name, count in layer_counts(weights, keep, allocation).items():
        weight = weights[name].detach().cpu()
        if start == "magnitude":
            score = weight.abs()
        else:
            generator = torch.Generator().manual_seed(seed_for(seed, "mask", name))
            score = torch.rand(weight.shape, generator=generator)
        masks[name] = top(score, count)
    return masks
