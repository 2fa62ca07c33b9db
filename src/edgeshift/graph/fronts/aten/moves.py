# SPDX-License-Identifier: Apache-2.0
"""Operators that only move entries."""

from functools import partial
from typing import Any

import numpy as np

from edgeshift.graph.fronts.walker import Number, Walker, many


def _reshape(walk: Walker, x: Any, *args: Any) -> Number | None:
    return walk.emit("reshape", [x])


op_flatten = op_squeeze = op_unsqueeze = op_squeeze_ = op_unsqueeze_ = op_view_as = _reshape


def op_view(walk: Walker, x: Any, sizes: Any) -> Number | None:
    return walk.emit("reshape", [x], spelled=tuple(d for d, n in enumerate(sizes) if n != -1))


op_reshape = op__unsafe_view = op_view


def op_unflatten(walk: Walker, x: Any, dim: Any, sizes: Any) -> Number | None:
    dim %= len(walk.shape(x))
    return walk.emit("reshape", [x], spelled=tuple(d + dim for d, n in enumerate(sizes) if n != -1))


def op_permute(walk: Walker, x: Any, order: Any) -> Number | None:
    rank = len(walk.shape(x))
    return walk.emit("permute", [x], order=tuple(d % rank for d in order))


def op_transpose(walk: Walker, x: Any, a: Any, b: Any) -> Number | None:
    rank = len(walk.shape(x))
    order = list(range(rank))
    order[a % rank], order[b % rank] = b % rank, a % rank
    return walk.emit("permute", [x], order=tuple(order))


def op_movedim(walk: Walker, x: Any, source: Any, destination: Any) -> Number | None:
    rank = len(walk.shape(x))
    moves = sorted((to % rank, at % rank) for at, to in zip(many(source), many(destination), strict=True))
    order = [d for d in range(rank) if d not in {at for _, at in moves}]
    for to, at in moves:
        order.insert(to, at)
    return walk.emit("permute", [x], order=tuple(order))


op_moveaxis, op_swapaxes, op_swapdims = op_movedim, op_transpose, op_transpose


def op_t(walk: Walker, x: Any) -> Number | None:
    return walk.emit("permute", [x], order=tuple(range(len(walk.shape(x))))[::-1])


op_numpy_T = op_t


def op_slice(
    walk: Walker, x: Any, dim: Any = 0, start: Any = None, end: Any = None, step: Any = 1
) -> Number | None:
    size = walk.shape(x)[dim]
    picked = range(size)[slice(start, end, step)]
    if len(picked) and step == 1 and size % len(picked) == 0 and picked[0] % len(picked) == 0:
        return walk.take(x, dim, picked, (picked[0] // len(picked), size // len(picked)), spelled=True)
    return walk.take(x, dim, picked)


def op_select(walk: Walker, x: Any, dim: Any, index: Any) -> Number | None:
    size = walk.shape(x)[dim]
    return walk.emit("reshape", [walk.take(x, dim, [index % size])])


def op_flip(walk: Walker, x: Any, dims: Any) -> Number | None:
    out = walk.of(x)
    for dim in dims:
        out = walk.take(out, dim, range(walk.graph.shape(out)[dim])[::-1])
    return out


def op_roll(walk: Walker, x: Any, shifts: Any, dims: Any = ()) -> Number | None:
    if not dims:
        return None
    out = walk.of(x)
    for shift, dim in zip(shifts, dims, strict=True):
        size = walk.graph.shape(out)[dim]
        out = walk.take(out, dim, [(i - shift) % size for i in range(size)])
    return out


def _parts(walk: Walker, x: Any, dim: int, sizes: list[int], *, adaptive: bool) -> None:
    """Pieces of a split; equal pieces shrink together. Sizes of a `split` may stand in the user's code."""
    if not any(piece.users for piece in walk.node.users):
        return  # nobody uses a piece, but the user's code may still count them
    number, name = walk.of(x), walk.node.name
    starts = np.cumsum([0, *sizes])
    even = len(set(sizes)) == 1
    walk.pieces[name] = [
        partial(
            walk.take,
            number,
            dim,
            range(int(starts[i]), int(starts[i + 1])),
            (i, len(sizes)) if even else None,
            spelled=not adaptive,
        )
        for i in range(len(sizes))
    ]


def op_chunk(walk: Walker, x: Any, chunks: Any, dim: Any = 0) -> None:
    _parts(walk, x, dim, [int(v.shape[dim]) for v in walk.node.meta["val"]], adaptive=True)


def op_split(walk: Walker, x: Any, size: Any, dim: Any = 0) -> None:
    _parts(walk, x, dim, [int(v.shape[dim]) for v in walk.node.meta["val"]], adaptive=False)


op_split_with_sizes = op_split


def op_unbind(walk: Walker, x: Any, dim: Any = 0) -> None:
    number, shape = walk.of(x), walk.shape(x)
    dim %= len(shape)
    rest = tuple(n for d, n in enumerate(shape) if d != dim)

    def one(i: int) -> Number:
        return walk.emit("reshape", [walk.take(number, dim, [i])], rest)

    walk.pieces[walk.node.name] = [partial(one, i) for i in range(shape[dim])]


def op_cat(walk: Walker, tensors: Any, dim: Any = 0) -> Number | None:
    return walk.emit("cat", list(tensors), axis=dim % len(walk.shape(tensors[0])))


op_concat = op_cat


def op_stack(walk: Walker, tensors: Any, dim: Any = 0) -> Number | None:
    shape = walk.shape(tensors[0])
    dim %= len(shape) + 1
    wide = (*shape[:dim], 1, *shape[dim:])
    return walk.emit("cat", [walk.emit("reshape", [t], wide) for t in tensors], axis=dim)


def op_pad(walk: Walker, x: Any, widths: Any, mode: Any = "constant", value: Any = None) -> Number | None:
    rank = len(walk.shape(x))
    before, after = [0] * rank, [0] * rank
    for i in range(len(widths) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = int(widths[2 * i]), int(widths[2 * i + 1])
    filler = float(value or 0.0) if mode == "constant" else None
    # Axis 1 may hold channels, and what is added there may come from an attribute of the module.
    spelled = (1,) if rank > 2 and before[1] + after[1] > 0 and filler is not None else ()
    return walk.emit("pad", [x], before=tuple(before), after=tuple(after), value=filler, spelled=spelled)


def op_constant_pad_nd(walk: Walker, x: Any, widths: Any, value: Any = 0) -> Number | None:
    return op_pad(walk, x, widths, "constant", value)


def op_expand(walk: Walker, x: Any, sizes: Any, implicit: Any = False) -> Number | None:
    return walk.emit("expand", [x])


op_expand_as = op_expand


def op_repeat(walk: Walker, x: Any, sizes: Any) -> Number | None:
    out, shape = walk.of(x), walk.shape(x)
    if len(sizes) > len(shape):
        shape = (*[1] * (len(sizes) - len(shape)), *shape)
        out = walk.emit("reshape", [out], shape)
    for dim, times in enumerate(sizes):
        if times != 1:
            out = walk.take(out, dim, list(range(shape[dim])) * times, free=True)
    return out


def op_tile(walk: Walker, x: Any, sizes: Any) -> Number | None:
    return op_repeat(walk, x, [1] * (len(walk.shape(x)) - len(sizes)) + list(sizes))


def op_repeat_interleave(walk: Walker, x: Any, times: Any, dim: Any = None, **options: Any) -> Number | None:
    if not isinstance(times, int) or isinstance(times, Number) or dim is None:
        return None
    return walk.take(x, dim, np.repeat(np.arange(walk.shape(x)[dim]), times), free=True)


def op_index_select(walk: Walker, x: Any, dim: Any, index: Any) -> Number | None:
    """Positions that a tensor names: those of a buffer follow the cut, numbers that only the run tells may be any."""
    number, shape = walk.of(index), walk.shape(x)
    dim %= len(shape)
    data, names = walk.graph.values[number].data, walk.shape(index)
    if len(names) > 1:
        return None
    if data is None:
        return walk.emit("pick", [x, number], axis=dim)
    picked = tuple(int(i) % shape[dim] for i in np.ravel(data))
    if not names or not walk.keeps(number):
        return walk.take(x, dim, picked)
    return walk.emit("take", [x, number], axis=dim, index=picked, part=None, free=True, spelled=())


def op_unfold(walk: Walker, x: Any, dim: Any, size: Any, step: Any) -> Number | None:
    """Windows along an axis: any of its positions, on a last axis of their own."""
    shape = walk.shape(x)
    dim %= max(1, len(shape))
    out = tuple(int(n) for n in walk.node.meta["val"].shape)
    there = walk.emit("pick", [x, None], (*shape[:dim], out[dim], *shape[dim + 1 :]), axis=dim)
    return walk.emit("expand", [walk.emit("reshape", [there], (*out[:-1], 1))], out)


def op_im2col(walk: Walker, x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Number | None:
    """Windows over space, one channel for each of their positions."""
    if len(walk.shape(x)) != 4:
        return None
    block = int(np.prod(kernel))
    return walk.emit("windows", [x], block=block, padded=any(many(padding)))
