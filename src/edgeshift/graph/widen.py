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
