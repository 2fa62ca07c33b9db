# SPDX-License-Identifier: Apache-2.0
"""Pooling, resizing, reductions and softmax."""

import operator
from typing import Any

from edgeshift.graph.fronts.walker import CALLS, Number, Walker, many


def _pool(walk: Walker, x: Any, rank: int, keeps: str = "any") -> Number:
    return walk.emit("pool", [x], rank=rank, keeps=keeps)


def op_max_pool1d(walk: Walker, x: Any, *args: Any, **kwargs: Any) -> Number | None:
    return _pool(walk, x, 1)


def op_max_pool2d(walk: Walker, x: Any, *args: Any, **kwargs: Any) -> Number | None:
    return _pool(walk, x, 2)


def op_max_pool3d(walk: Walker, x: Any, *args: Any, **kwargs: Any) -> Number | None:
    return _pool(walk, x, 3)


def _avg(
    walk: Walker,
    rank: Any,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil: Any = False,
    count_pad: Any = True,
    divisor: Any = None,
) -> Number | None:
    plain = divisor is None and (not any(many(padding)) or not count_pad) and not ceil
    return _pool(walk, x, rank, "any" if plain else "zero")


def op_avg_pool1d(walk: Walker, *args: Any) -> Number | None:
    return _avg(walk, 1, *args)


def op_avg_pool2d(walk: Walker, *args: Any) -> Number | None:
    return _avg(walk, 2, *args)


def op_avg_pool3d(walk: Walker, *args: Any) -> Number | None:
    return _avg(walk, 3, *args)


def op_adaptive_avg_pool1d(walk: Walker, x: Any, size: Any) -> Number | None:
    return _pool(walk, x, 1)


def op_adaptive_avg_pool2d(walk: Walker, x: Any, size: Any) -> Number | None:
    return _pool(walk, x, 2)


def op_adaptive_avg_pool3d(walk: Walker, x: Any, size: Any) -> Number | None:
    return _pool(walk, x, 3)


def _upsample(walk: Walker, x: Any, *args: Any, **kwargs: Any) -> Number | None:
    return _pool(walk, x, len(walk.shape(x)) - 2)


op_upsample_nearest1d = op_upsample_nearest2d = op_upsample_nearest3d = _upsample


op_upsample_linear1d = op_upsample_bilinear2d = op_upsample_trilinear3d = _upsample


op_upsample_bicubic2d = op__upsample_bilinear2d_aa = _upsample


def _reduce(walk: Walker, fn: str, x: Any, axes: Any, keepdim: bool) -> Number:
    rank = len(walk.shape(x))
    picked = tuple(range(rank)) if not axes and axes != 0 else tuple(a % rank for a in many(axes))
    return walk.emit("reduce", [x], fn=fn, axes=picked, keepdim=keepdim)


def op_mean(walk: Walker, x: Any, dim: Any = None, keepdim: Any = False, dtype: Any = None) -> Number | None:
    return _reduce(walk, "mean", x, dim, keepdim)


def op_sum(walk: Walker, x: Any, dim: Any = None, keepdim: Any = False, dtype: Any = None) -> Number | None:
    return _reduce(walk, "sum", x, dim, keepdim)


def op_var(
    walk: Walker, x: Any, dim: Any = None, unbiased: Any = True, keepdim: Any = False, correction: Any = None
) -> Number | None:
    return _reduce(walk, "other", x, None if isinstance(dim, bool) else dim, keepdim)


op_std = op_var


def op_linalg_vector_norm(
    walk: Walker, x: Any, ord: Any = 2, dim: Any = None, keepdim: Any = False, dtype: Any = None
) -> Number | None:
    return _reduce(walk, "other", x, dim, keepdim)


op_norm = op_linalg_vector_norm


def _only_first(walk: Walker) -> bool:
    """Whether nobody uses more than the first of several outputs."""
    return all(
        user.target is operator.getitem and (user.args[1] == 0 or not user.users) for user in walk.node.users
    )


def _extreme(walk: Walker, name: Any, x: Any, dim: Any, keepdim: Any) -> Number | None:
    if isinstance(dim, CALLS):
        return walk.emit("elementwise", [x, dim], fn=name)
    if dim is None:
        return _reduce(walk, name, x, None, False)
    if _only_first(walk):
        walk.pieces[walk.node.name] = [lambda: _reduce(walk, name, x, dim, keepdim)] * 2
    return None


def op_max(walk: Walker, x: Any, dim: Any = None, keepdim: Any = False) -> Number | None:
    return _extreme(walk, "max", x, dim, keepdim)


def op_min(walk: Walker, x: Any, dim: Any = None, keepdim: Any = False) -> Number | None:
    return _extreme(walk, "min", x, dim, keepdim)


def op_adaptive_max_pool2d(walk: Walker, x: Any, size: Any) -> None:
    if _only_first(walk):
        walk.pieces[walk.node.name] = [lambda: _pool(walk, x, 2)] * 2


def op_adaptive_max_pool1d(walk: Walker, x: Any, size: Any) -> None:
    if _only_first(walk):
        walk.pieces[walk.node.name] = [lambda: _pool(walk, x, 1)] * 2


def op_adaptive_max_pool3d(walk: Walker, x: Any, size: Any) -> None:
    if _only_first(walk):
        walk.pieces[walk.node.name] = [lambda: _pool(walk, x, 3)] * 2


def op_amax(walk: Walker, x: Any, dim: Any = (), keepdim: Any = False) -> Number | None:
    return _reduce(walk, "max", x, dim, keepdim)


def op_amin(walk: Walker, x: Any, dim: Any = (), keepdim: Any = False) -> Number | None:
    return _reduce(walk, "min", x, dim, keepdim)


def op_softmax(walk: Walker, x: Any, dim: Any, dtype: Any = None) -> Number | None:
    return walk.emit("softmax", [x], axis=dim % len(walk.shape(x)), sums=True)


op__softmax = op_softmax


def op_log_softmax(walk: Walker, x: Any, dim: Any, dtype: Any = None) -> Number | None:
    return walk.emit("softmax", [x], axis=dim % len(walk.shape(x)), sums=False)


op__log_softmax = op_log_softmax
