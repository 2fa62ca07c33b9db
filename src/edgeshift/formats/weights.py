# SPDX-License-Identifier: Apache-2.0
"""A model in one safetensors file: its weights, and how its shapes differ from the user's class."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue, BadWeights, NotFinite
from edgeshift.core.files import write_bytes
from edgeshift.core.shape_plan import ShapePlan, prepare_, resize_
from edgeshift.formats.tensors import content, facts_metadata, facts_of, header

FORMAT = 1
NO_PLAN = ShapePlan()


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer under every name it has, in the model's order."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def ties(model: nn.Module) -> dict[str, str]:
    """Second name -> first name, for tensors that are one object."""
    first: dict[int, str] = {}
    found = {}
    for name, tensor in named_tensors(model):
        if id(tensor) in first:
            found[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
    return found


def check_finite(name: str, tensor: Tensor, *, parameter: bool) -> None:
    """Nothing, if the numbers can be weights. Buffers may hold infinity, as attention masks do."""
    if not tensor.is_floating_point():
        return
    if bool(torch.isnan(tensor).any()) or (parameter and not bool(torch.isfinite(tensor).all())):
        raise NotFinite(f"tensor {name} must be finite, got NaN or infinity")


def stored_names(model: nn.Module, plan: ShapePlan) -> list[str]:
    """Names of the tensors that a file of this model holds: the state, and whatever the plan names."""
    state = model.state_dict(keep_vars=True)
    return [name for name, _ in named_tensors(model) if name in state or name in plan.shapes]


def weight_bytes(model: nn.Module, plan: ShapePlan = NO_PLAN) -> bytes:
    """The content of the file that `save` writes; equal models give equal bytes.

    Raises:
        NotFinite: If a parameter is NaN or infinite, or a buffer NaN.
        BadValue: If a tensor has another shape than the plan says.
    """
    tied = ties(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    everything = dict(named_tensors(model))
    tensors = {}
    for name in stored_names(model, plan):
        tensor = everything[name].detach()
        check_finite(name, tensor, parameter=name in parameters)
        if name in plan.shapes and tuple(tensor.shape) != tuple(plan.shapes[name]):
            raise BadValue(
                f"shape of {name}", tuple(tensor.shape), f"{tuple(plan.shapes[name])} as in the plan"
            )
        if name not in tied:
            tensors[name] = tensor.cpu().contiguous().clone()
    missing = [name for name in plan.shapes if name not in everything]
    if missing:
        raise BadValue("shape plan", missing[0], "about tensors of the model")
    shared = {name: first for name, first in tied.items() if first in tensors}
    facts = {"format": FORMAT, "plan": plan.to_json(), "tied": shared}
    written: bytes = safetensors.torch.save(tensors, facts_metadata(facts))
    return written


class Planned(Protocol):
    """A model and how it differs from its class, such as `Shrunk`."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def plan(self) -> ShapePlan:
        """How it differs."""


def save(model: nn.Module | Planned, path: str | Path, plan: ShapePlan = NO_PLAN) -> None:
    """Write a model's weights and shape plan into one safetensors file, whole or not at all.

    Args:
        model: A module, or a `Shrunk` with the plan it brings; it is not changed.
        path: File to write.
        plan: How a module differs from what its factory builds.

    Raises:
        NotFinite: If a parameter is NaN or infinite, or a buffer NaN.
        BadValue: If a tensor has another shape than the plan says.
        DiskFull: If there is no room.
    """
    module, its_plan = (model, plan) if isinstance(model, nn.Module) else (model.model, model.plan)
    write_bytes(Path(path), weight_bytes(module, its_plan))


def load(path: str | Path, factory: Callable[[], nn.Module]) -> nn.Module:
    """The model that `save` wrote: the factory's class, resized by the plan, with the same bits.

    Args:
        path: File that `save` wrote, or any safetensors file with the factory's names and shapes.
        factory: Builds the model as it was before shrinking; its weights do not matter.

    Returns:
        In eval mode; parameters that were one object are one object again.

    Raises:
        BadValue: If there is no such file, or a newer edgeshift wrote it.
        BadWeights: If it is no safetensors file, or does not fit; names the first tensor.
        NotFinite: If a parameter is NaN or infinite, or a buffer NaN.
    """
    path = Path(path)
    data = content(path)
    facts = facts_of(header(data, path.name), path.name)
    if facts.get("format", FORMAT) != FORMAT:
        raise BadValue(f"format of {path.name}", facts["format"], f"{FORMAT}; update edgeshift to read it")
    plan = ShapePlan.from_json(facts["plan"]) if "plan" in facts else NO_PLAN
    tied: Mapping[str, str] = facts.get("tied", {})
    try:
        tensors: dict[str, Any] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadWeights(f"{path.name} must be a safetensors file, got: {error}") from error
    model = factory().eval()
    prepare_(model, plan)
    check_fit(model, plan, tensors, tied)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        known_buffer = name not in parameters and name not in plan.shapes
        check_finite(name, tensor, parameter=not known_buffer)
    resize_(model, plan, {**tensors, **{name: tensors[first] for name, first in tied.items()}})
    for name, first in tied.items():
        tie_(model, name, first)
    return model


def check_fit(
    model: nn.Module, plan: ShapePlan, tensors: Mapping[str, Tensor], tied: Mapping[str, str]
) -> None:
    """Nothing, if file and model have the same tensors in the same shapes.

    Raises:
        BadWeights: Naming the first that is missing, too many, or of another shape.
    """
    everything = dict(named_tensors(model))
    own = ties(model)
    wanted = dict.fromkeys([*stored_names(model, plan), *plan.shapes])
    for name in wanted:
        source = tied.get(name, name)
        if source not in tensors:
            # A plain state file may leave out the second name of one tensor.
            if own.get(name) in tensors and name not in tied:
                continue
            raise BadWeights(f"weights must have tensor {name}, got none of that name")
        shape = tuple(plan.shapes[name]) if name in plan.shapes else tuple(everything[name].shape)
        if tuple(tensors[source].shape) != shape:
            raise BadWeights(f"tensor {name} must have shape {shape}, got {tuple(tensors[source].shape)}")
    for name in [*tensors, *tied]:
        if name not in wanted:
            raise BadWeights(f"weights must fit the model, got tensor {name} that it lacks")
    for name, first in own.items():
        apart = name in tensors and first in tensors and not torch.equal(tensors[name], tensors[first])
        if apart:
            raise BadWeights(
                f"tensor {name} must equal {first}, which the model shares it with, got another value"
            )


def tie_(model: nn.Module, name: str, first: str) -> None:
    """Make two names of a model one tensor, in place."""
    owner, _, leaf = first.rpartition(".")
    source = model.get_submodule(owner)
    tensor = source._parameters.get(leaf, source._buffers.get(leaf))
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    table: dict[str, Any] = module._parameters if leaf in module._parameters else module._buffers
    table[leaf] = tensor
