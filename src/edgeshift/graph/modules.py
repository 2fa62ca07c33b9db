# SPDX-License-Identifier: Apache-2.0
"""Modules and tensors of a model by name, as torch lists them, without its generators inside generators."""

from collections.abc import Iterator

from torch import Tensor, nn

Named = list[tuple[str, nn.Module]]


def named_modules(model: nn.Module, *, again: bool = False) -> Named:
    """What `model.named_modules()` gives.

    Args:
        model: Not changed.
        again: List a module that stands in several places under each of its names.
    """
    found: Named = []
    _visit("", model, found, None if again else set())
    return found


def _visit(name: str, module: nn.Module, found: Named, seen: set[int] | None) -> None:
    if seen is not None:
        if id(module) in seen:
            return
        seen.add(id(module))
    found.append((name, module))
    for key, child in module._modules.items():
        if child is not None:
            _visit(f"{name}.{key}" if name else key, child, found, seen)


def tensors_of(inside: Named) -> dict[str, Tensor]:
    """Every parameter and buffer of these modules, shared ones once, under their first name."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for prefix, module in inside:
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{prefix}.{name}" if prefix else name] = tensor
    return found


def parameters_then_buffers(inside: Named) -> Iterator[tuple[str, Tensor]]:
    """All parameters, then all buffers, in the order of `model.named_parameters()` and `model.named_buffers()`."""
    for kind in ("_parameters", "_buffers"):
        for prefix, module in inside:
            for name, tensor in module.__dict__[kind].items():
                if tensor is not None:
                    yield (f"{prefix}.{name}" if prefix else name), tensor
