# SPDX-License-Identifier: Apache-2.0
"""Operators that a recorded run need not compute, since the size of their result follows from their inputs'.

Each returns zeros as the operator would lay them out in memory, or None where it is better asked itself: other
types, other memory formats, and sizes that do not fit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

ATEN: Any = torch.ops.aten
# Memory that numpy asks the system for is zero without being written to, until somebody reads it.
LAZY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def _many(value: Any, rank: int) -> list[int]:
    found = [value] if isinstance(value, int) else list(value)
    return found * rank if len(found) == 1 else found


def _plain(*tensors: Tensor | None) -> bool:
    """Whether all are dense, contiguous and of one float type."""
    first: torch.dtype | None = None
    for tensor in tensors:
        if tensor is None:
            continue
        first = first or tensor.dtype
        fits = tensor.dtype == first and tensor.layout == torch.strided and tensor.is_contiguous()
        if not fits or not first.is_floating_point:
            return False
    return True


def _zeros(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Zeros of the type and on the device of another tensor."""
    kind = LAZY.get(like.dtype) if like.is_cpu and 0 not in shape else None
    return like.new_zeros(shape) if kind is None else torch.from_numpy(np.zeros(shape, kind))


def _window(
    x: Tensor, rank: int, kernel: Sequence[int], stride: Any, padding: Any, dilation: Any = 1
) -> list[int]:
    """Sizes over space of what slides a window over it."""
    sizes = zip(x.shape[-rank:], kernel, _many(stride, rank), _many(padding, rank), _many(dilation, rank),
                strict=True)  # fmt: skip
    return [(n + 2 * pad - dil * (k - 1) - 1) // step + 1 for n, k, step, pad, dil in sizes]


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    rank = weight.dim() - 2
    fits = x.dim() == rank + 2 and x.shape[1] == weight.shape[1] * groups and weight.numel() > 0
    if not fits or not _plain(x, weight, bias):
        return None
    space = _window(x, rank, weight.shape[2:], stride, padding, dilation)
    return _zeros(x, (x.shape[0], weight.shape[0], *space)) if min(space) > 0 else None


def _transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor | None:
    rank = weight.dim() - 2
    fits = x.dim() == rank + 2 and x.shape[1] == weight.shape[0] and weight.numel() > 0 and x.numel() > 0
    if not fits or not _plain(x, weight, bias):
        return None
    options = (_many(option, rank) for option in (stride, padding, output_padding, dilation))
    sizes = zip(x.shape[2:], weight.shape[2:], *options, strict=True)
    space = [(n - 1) * step - 2 * pad + dil * (k - 1) + more + 1 for n, k, step, pad, more, dil in sizes]
    return _zeros(x, (x.shape[0], weight.shape[1] * groups, *space)) if min(space) > 0 else None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    if weight.dim() != 2 or x.dim() < 2 or x.shape[-1] != weight.shape[1] or not _plain(x, weight, bias):
        return None
    return _zeros(x, (*x.shape[:-1], weight.shape[0]))


def _product(a: Tensor, b: Tensor) -> Tensor | None:
    if a.dim() != b.dim() or a.dim() < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        return None
    return _zeros(a, (*a.shape[:-1], b.shape[-1])) if _plain(a, b) else None


def _same(x: Tensor) -> Tensor | None:
    """Entry by entry."""
    return _zeros(x, x.shape) if _plain(x) else None


def _itself(x: Tensor) -> Tensor | None:
    """Entry by entry, in place."""
    return x if _plain(x) else None


def _both(a: Any, b: Any) -> Tensor | None:
    """Two tensors entry by entry, the first of which has the size of the result."""
    if not isinstance(a, Tensor) or not _plain(a):
        return None
    if isinstance(b, Tensor):
        fits = b.dim() == a.dim() and all(n in (m, 1) for m, n in zip(a.shape, b.shape, strict=True))
        return _zeros(a, a.shape) if fits and _plain(a, b) else None
    return _zeros(a, a.shape) if isinstance(b, float) else None


def _onto(a: Any, b: Any) -> Tensor | None:
    """See `_both`; in place."""
    return a if isinstance(b, Tensor) and a.shape == b.shape and _plain(a, b) else None


def _batch_norm(x: Tensor, *rest: Any) -> Tensor | None:
    given, training = rest[:4], rest[4]
    fits = x.dim() > 1 and all(t is None or t.shape == (x.shape[1],) for t in given)
    return _zeros(x, x.shape) if fits and not training and _plain(x, *given) else None


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, *rest: Any
) -> Tensor | None:
    fits = tuple(x.shape[-len(shape) :]) == tuple(shape)
    fits = fits and all(t is None or tuple(t.shape) == tuple(shape) for t in (weight, bias))
    return _zeros(x, x.shape) if fits and _plain(x, weight, bias) else None


def _max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
) -> Tensor | None:
    kernel = _many(kernel, 2)
    if (
        ceil
        or x.dim() != 4
        or not _plain(x)
        or any(p > k // 2 for p, k in zip(_many(padding, 2), kernel, strict=True))
    ):
        return None
    space = _window(x, 2, kernel, stride or kernel, padding, dilation)
    return _zeros(x, (*x.shape[:2], *space)) if min(space) > 0 and x.numel() else None


SKIPPED: dict[Any, Callable[..., Tensor | None]] = {
    ATEN.conv1d.default: _conv,
    ATEN.conv2d.default: _conv,
    ATEN.conv3d.default: _conv,
    ATEN.conv_transpose1d.default: _transposed,
    ATEN.conv_transpose2d.input: _transposed,
    ATEN.conv_transpose3d.input: _transposed,
    ATEN.linear.default: _linear,
    ATEN.matmul.default: _product,
    ATEN.bmm.default: _product,
    ATEN.mm.default: _product,
    ATEN.batch_norm.default: _batch_norm,
    ATEN.layer_norm.default: _layer_norm,
    ATEN.max_pool2d.default: _max_pool,
    **dict.fromkeys((ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor), _both),
    **dict.fromkeys((ATEN.add_.Tensor, ATEN.sub_.Tensor, ATEN.mul_.Tensor), _onto),
    **{getattr(ATEN, name).default: _same for name in ("relu", "gelu", "silu", "sigmoid", "tanh", "hardswish",
                                                       "hardsigmoid", "relu6", "mish")},
    **{getattr(ATEN, name).default: _itself for name in ("relu_", "silu_", "sigmoid_", "hardswish_", "hardsigmoid_",
                                                         "relu6_")},
}  # fmt: skip
