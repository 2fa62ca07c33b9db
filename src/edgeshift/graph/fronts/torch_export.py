# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch model to the channel graph: one recorded run of its forward, or torch.export."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeshift.core.errors import BadWeights, Untraceable
from edgeshift.graph.channels import ChannelGraph, Value
from edgeshift.graph.fronts.aten import dense, entries, moves, products, space
from edgeshift.graph.fronts.record import Recording, Refused, record
from edgeshift.graph.fronts.walker import Handler, Walker, as_numpy
from edgeshift.graph.modules import named_modules, parameters_then_buffers

PACKAGE = str(Path(__file__).resolve().parents[2])


@contextmanager
def evaluating(model: nn.Module, *, writes: bool = True) -> Iterator[None]:
    """The model in evaluation mode; every module's own mode and buffers come back afterwards.

    Args:
        model: As it was afterwards.
        writes: Whether the numbers of a buffer may be written over meanwhile; a recorded run refuses that.
    """
    modes = [(m, m.training) for _, m in named_modules(model)]
    buffers = [(m, n, b) for m, _ in modes for n, b in m._buffers.items() if b is not None]
    copies = [b.clone() for _, _, b in buffers] if writes else []
    if any(mode for _, mode in modes):
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training is not mode:
                module.training = mode
        # A counter in the user's forward moves on when it is run.
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        for (_, _, buffer), numbers in zip(buffers, copies, strict=False):
            if not torch.equal(buffer, numbers):
                with torch.no_grad():
                    buffer.copy_(numbers)


def user_line(error: BaseException) -> str:
    """The innermost "file.py:12" of user code that an error passed through."""
    found, trail = "", error.__traceback__
    while trail is not None:
        file = trail.tb_frame.f_code.co_filename
        if "/torch/" not in file and not file.startswith((PACKAGE, "<")):
            found = f"{Path(file).name}:{trail.tb_lineno}"
        trail = trail.tb_next
    return found


def trace(model: nn.Module, example: tuple[Any, ...]) -> ChannelGraph:
    """The channel graph of a model in evaluation mode, from one recorded run or, where that is not enough, exported.

    Args:
        model: Any model torch.export can trace. Not changed.
        example: Its positional arguments.

    Returns:
        The graph; its `tracer` says why torch.export was asked, if it was.

    Raises:
        Untraceable: If it cannot; the text names the module and the line.
    """
    try:
        recording = _recording(model, example)
    except Exception as error:  # whatever the user's code or an operator raises: torch.export has its own say
        graph = export(model, example)
        graph.tracer = f"torch.export, since a recorded run met {error}"
        return graph
    graph = Walker(model, handlers()).recorded(recording)
    for step in recording.steps:  # else each would live until the next search for cycles
        step.users.clear()
    return graph


def _recording(model: nn.Module, example: tuple[Any, ...]) -> Recording:
    """One run without the large sums; with them where the user's code or an operator stumbles over zeros."""
    with evaluating(model, writes=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return record(model, example)
        except Refused:  # that hangs on no number
            raise
        except Exception:  # such as an index made of zeros
            return record(model, example, compute=True)


def with_numbers(graph: ChannelGraph, model: nn.Module) -> ChannelGraph:
    """The graph of another model of the same structure: the same nodes and ties, this model's numbers.

    Args:
        graph: From `trace`. Not changed; what it knows of the structure is shared.
        model: Runs the same operators on tensors of the same names and sizes, such as another level of one network.

    Raises:
        BadWeights: If a tensor of the graph is missing in the model or of another size.
    """
    tensors = dict(parameters_then_buffers(named_modules(model)))
    values = list(graph.values)
    for number, value in enumerate(values):
        if not value.param:
            continue
        tensor = tensors.get(value.param)
        if tensor is None or tensor.shape != value.shape:
            found = "none" if tensor is None else str(tuple(tensor.shape))
            raise BadWeights(
                f"a model for this graph must have {value.param} of size {value.shape}, got {found}"
            )
        values[number] = Value(value.shape, value.name, value.param, value.trained, as_numpy(tensor))
    return replace(graph, values=values)


def export(model: nn.Module, example: tuple[Any, ...]) -> ChannelGraph:
    """See `trace`; by torch.export, which takes a second or more and is what a recording is checked against."""
    try:
        with evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, example, strict=False)
    except Exception as error:  # torch.export raises whatever the user's code or its own tracer meets
        raise Untraceable(_where(model, error)) from error
    return Walker(model, handlers()).exported(program)


def _where(model: nn.Module, error: BaseException) -> str:
    """One line: which module and which line of the user's code could not be traced, and why."""
    names = {id(m): n or type(m).__name__ for n, m in model.named_modules()}
    module, line = type(model).__name__, "unknown line"
    trail = error.__traceback__
    while trail is not None:
        frame = trail.tb_frame
        file = frame.f_code.co_filename
        owner = names.get(id(frame.f_locals.get("self")))
        if owner is not None:
            module = owner
        if "site-packages/torch/" not in file and not file.startswith((PACKAGE, "<")) and owner is not None:
            line = f"{Path(file).name}:{trail.tb_lineno}"
        trail = trail.tb_next
    text = str(error).strip().splitlines()
    why = text[0][:160] if text else type(error).__name__
    what = f"{type(error).__name__} in module {module} at {line}: {why}"
    return f"model must be traceable by torch.export, got {what}"


@cache
def handlers() -> dict[str, Handler]:
    """ATen operator name -> who handles it: every function `op_NAME` of the folder `aten`."""
    found: dict[str, Handler] = {}
    for module in (dense, entries, moves, products, space):
        found.update({name[3:]: f for name, f in vars(module).items() if name.startswith("op_")})
    return found
