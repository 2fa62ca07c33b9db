# SPDX-License-Identifier: Apache-2.0
"""Run a model in float64 although its own code asks for float32 or less, and its parameters are no more.

A parameter is widened for the one call that takes it, so no second copy of the model is ever in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

NARROW = (torch.float32, torch.float16, torch.bfloat16)
WRITES = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__")
CASTS = ("float", "half", "bfloat16")
# Sums over a weight, with the axis of the result that holds its rows, counted from the end.
SUMS = {"conv1d": -2, "conv2d": -3, "conv3d": -4, "linear": -1}
# Numbers of a weight that are wide at a time: 2 MB, which is little beside any model that memory matters for.
PART = 1 << 18


class _Widen(TorchFunctionMode):
    """Reads every narrower float type, and every tensor of one, in a call as float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in CASTS and args and isinstance(args[0], torch.Tensor):
            return args[0].double()
        if name in ("__get__", "__set__"):  # of an attribute, such as `shape` or `dtype`
            held = func(*args, **(kwargs or {}))
            return _wide(held) if isinstance(held, torch.dtype) else held
        if name in SUMS and not kwargs and len(args) > 1 and _is_large(args):
            return _in_parts(func, args, SUMS[name])
        wide: Any = tree_map_only((torch.dtype, torch.Tensor), _wide, (args, kwargs or {}))
        written = (name.endswith("_") and not name.endswith("__")) or name in WRITES
        if written and args and isinstance(args[0], torch.Tensor):  # it is the tensor itself that changes
            return func(args[0], *wide[0][1:], **wide[1])
        return func(*wide[0], **wide[1])


def _wide(x: Any) -> Any:
    """A type or a tensor, in float64 if it was a narrower float."""
    if isinstance(x, torch.dtype):
        return torch.float64 if x in NARROW else x
    return x.double() if x.dtype in NARROW else x


def _is_large(args: tuple[Any, ...]) -> bool:
    """Whether a narrow weight of one group, or the windows it meets, are worth being widened part by part."""
    x, weight, groups = args[0], args[1], args[6] if len(args) > 6 else 1
    if not isinstance(weight, torch.Tensor) or weight.dtype not in NARROW or groups != 1 or not len(weight):
        return False
    return max(weight.numel(), _windows(x, weight)) > PART


def _windows(x: torch.Tensor, weight: torch.Tensor) -> int:
    """Numbers in all windows that a convolution lays side by side, about; 0 for a linear layer."""
    return weight[0].numel() * (x.numel() // max(1, x.shape[-weight.dim() + 1])) if weight.dim() > 2 else 0


def _in_parts(func: Callable[..., Any], args: tuple[Any, ...], axis: int) -> torch.Tensor:
    """A sum over a large weight, some of its rows and one sample after the other: little is wide at a time."""
    x, weight, bias, *rest = (*args, None) if len(args) == 2 else args
    x, step = _wide(x), max(1, PART // weight[0].numel())
    single = weight.dim() > 2 and x.dim() == weight.dim() and _windows(x, weight) > PART
    parts = []
    for start in range(0, len(weight), step):
        some = slice(start, start + step)
        w, b = weight[some].double(), None if bias is None else bias[some].double()
        samples = x.split(1) if single else (x,)
        parts.append(torch.cat([func(sample, w, b, *rest) for sample in samples]))
    return torch.cat(parts, axis)


@contextmanager
def widened() -> Iterator[None]:
    """Casts such as `x.float()`, tensors made on the way and parameters that are read are float64 inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widen():
            yield
    finally:
        torch.set_default_dtype(before)
