# SPDX-License-Identifier: Apache-2.0
"""Run a model in float64 although its own code asks for float32 or less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

NARROW = (torch.float32, torch.float16, torch.bfloat16)
CASTS = ("float", "half", "bfloat16")


class _Widen(TorchFunctionMode):
    """Reads every narrower float type in a call as float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") in CASTS and args and isinstance(args[0], torch.Tensor):
            return args[0].double()
        wide = tree_map_only(torch.dtype, lambda t: torch.float64 if t in NARROW else t, (args, kwargs or {}))
        return func(*wide[0], **wide[1])


@contextmanager
def widened() -> Iterator[None]:
    """Casts such as `x.float()` and tensors made on the way are float64 inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widen():
            yield
    finally:
        torch.set_default_dtype(before)
