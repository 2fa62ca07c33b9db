# SPDX-License-Identifier: Apache-2.0
"""Branches of a residual sum that write zeros: compute the rest and add it in place, where that is measured faster."""

import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from edgeshift.core.shape_plan import ShapePlan
from edgeshift.core.stand_ins import NarrowConv, stand_in_
from edgeshift.graph.prove import run
from edgeshift.graph.surgery import copy_module

# Calls timed for each form, in turns: enough for a median that differs by a few per cent.
ROUNDS = 15


def zero_rows(conv: nn.modules.conv._ConvNd) -> Tensor:
    """`(out,)`, bool: filters whose output is zero whatever comes in."""
    rows = conv.weight.detach().flatten(1).abs().sum(1) == 0
    if conv.bias is not None:
        rows &= conv.bias.detach() == 0
    return rows


def narrowed(model: nn.Module, names: list[str]) -> nn.Module:
    """A copy in which the named convolutions compute only the filters that are not zero."""
    copy = copy_module(model)
    for name in names:
        rows = zero_rows(copy.get_submodule(name))  # type: ignore[arg-type]
        stand_in_(copy, name)
        stand_in = copy.get_submodule(name)
        assert isinstance(stand_in, NarrowConv)
        live = (~rows).nonzero().flatten()
        stand_in.index = live
        conv = stand_in.conv
        conv.weight = nn.Parameter(conv.weight.detach()[live], requires_grad=conv.weight.requires_grad)
        if conv.bias is not None:
            conv.bias = nn.Parameter(conv.bias.detach()[live], requires_grad=conv.bias.requires_grad)
        conv.out_channels = len(live)
    return copy


def faster_narrow(model: nn.Module, example: tuple[Any, ...]) -> list[str]:
    """Names of the convolutions that are measured faster without their zero filters, on inputs of the example's size.

    Args:
        model: The shrunk model.
        example: Its positional arguments.
    """
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.modules.conv._ConvNd) or module.transposed or module.groups > 1:
            continue
        rows = zero_rows(module)
        if not rows.any() or rows.all():
            continue
        seen: list[Tensor] = []
        handle = module.register_forward_hook(lambda _, args, __, seen=seen: seen.append(args[0]))
        try:
            run(model, example)
        finally:
            handle.remove()
        box = nn.ModuleDict({"conv": module})
        other = narrowed(box, ["conv"])["conv"]  # type: ignore[index]  # a ModuleDict again
        if seen and is_faster(other, seen[0], module):
            found.append(name)
    return found


def is_faster(one: nn.Module, x: Tensor, two: nn.Module) -> bool:
    """Whether the first module's median time is below the second's, measured in turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    with torch.no_grad():
        for _ in range(ROUNDS):
            for module, times in zip((one, two), taken, strict=True):
                start = time.perf_counter()
                module(x)
                times.append(time.perf_counter() - start)
    return statistics.median(taken[0]) < statistics.median(taken[1])


def narrow_plan(plan: ShapePlan, model: nn.Module, names: list[str]) -> ShapePlan:
    """The plan with the stand-ins of these convolutions.

    Args:
        plan: Of the shrunk model.
        model: The narrowed model.
        names: What `narrowed` replaced.
    """
    shapes, attributes = dict(plan.shapes), dict(plan.attributes)
    for name in names:
        stand_in = model.get_submodule(name)
        assert isinstance(stand_in, NarrowConv)
        shapes[f"{name}.index"] = tuple(stand_in.index.shape)
        for leaf in ("weight", "bias"):
            shapes.pop(f"{name}.{leaf}", None)
            tensor = getattr(stand_in.conv, leaf)
            if tensor is not None:
                shapes[f"{name}.conv.{leaf}"] = tuple(tensor.shape)
        attributes[name] = {"full": stand_in.full}
        conv = stand_in.conv
        attributes[f"{name}.conv"] = {"in_channels": conv.in_channels, "out_channels": conv.out_channels}
    return replace(plan, shapes=shapes, attributes=attributes, stand_ins=(*plan.stand_ins, *names))
