# SPDX-License-Identifier: Apache-2.0
"""Operators that a recorded run need not compute, since the size of their result follows from their inputs'.

Each returns zeros as the operator would lay them out in memory, or None where it is better asked itself: other
types, other memory formats, and sizes that do not fit.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ATEN: Any = torch.ops.aten


def _many(value: Any, rank: int) -> list[int]:
    found = [value] if isinstance(value, int) else list(value)
    return found * rank if len(found) == 1 else found


def _plain(*tensors: Tensor | None) -> bool:
    """Whether all are dense, contiguous and of one float type."""
    given = [t for t in tensors if t is not None]
    first = given[0].dtype
    return first.is_floating_point and all(
        t.dtype == first and t.layout == torch.strided and t.is_contiguous() for t in given
    )


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
    sizes = zip(x.shape[2:], weight.shape[2:], _many(stride, rank), _many(padding, rank), _many(dilation, rank),
                strict=True)  # fmt: skip
    space = [(n + 2 * pad - dil * (k - 1) - 1) // step + 1 for n, k, step, pad, dil in sizes]
    return x.new_zeros((x.shape[0], weight.shape[0], *space)) if min(space) > 0 else None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    if weight.dim() != 2 or x.dim() < 2 or x.shape[-1] != weight.shape[1] or not _plain(x, weight, bias):
        return None
    return x.new_zeros((*x.shape[:-1], weight.shape[0]))


def _product(a: Tensor, b: Tensor) -> Tensor | None:
    if a.dim() != b.dim() or a.dim() < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        return None
    return a.new_zeros((*a.shape[:-1], b.shape[-1])) if _plain(a, b) else None


SKIPPED: dict[Any, Callable[..., Tensor | None]] = {
    ATEN.conv1d.default: _conv,
    ATEN.conv2d.default: _conv,
    ATEN.conv3d.default: _conv,
    ATEN.linear.default: _linear,
    ATEN.matmul.default: _product,
    ATEN.bmm.default: _product,
    ATEN.mm.default: _product,
}
