# SPDX-License-Identifier: Apache-2.0
"""Products of two tensors, attention, recurrence, look-ups."""

from typing import Any

import torch
from torch import nn

from edgeshift.graph.fronts.aten.moves import op_index_select
from edgeshift.graph.fronts.letters import einsum, made_of_weights
from edgeshift.graph.fronts.walker import CALLS, Number, Walker


def op_matmul(walk: Walker, a: Any, b: Any) -> Number | None:
    weight = walk.graph.values[walk.of(b)]
    if len(weight.shape) == 2 and (weight.param or made_of_weights(walk.graph, walk.of(b))):
        return walk.emit("linear", [a, b, None], w_out=1, can_bias=False)
    if len(walk.shape(a)) < 2 or len(weight.shape) < 2:
        return None
    return walk.emit("matmul", [a, b])


op_mm = op_bmm = op_matmul


def op_addmm(walk: Walker, bias: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Number | None:
    if beta != 1 or alpha != 1 or len(walk.shape(bias)) != 1 or not made_of_weights(walk.graph, walk.of(b)):
        return None
    return walk.emit("linear", [a, b, bias], w_out=1, can_bias=bool(walk.graph.values[walk.of(bias)].param))


def op_einsum(walk: Walker, equation: str, tensors: Any, path: Any = None) -> Number | None:
    made = einsum(walk, equation, [walk.of(t) for t in tensors])
    return None if made is None else Number(made)


def op_scaled_dot_product_attention(
    walk: Walker,
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout: Any = 0.0,
    causal: Any = False,
    scale: Any = None,
    enable_gqa: Any = False,
) -> Number | None:
    if enable_gqa or dropout or len({len(walk.shape(t)) for t in (q, k, v)}) > 1:
        return None
    return walk.emit("attention", [q, k, v, mask], scaled=scale is None)


def op_embedding(walk: Walker, weight: Any, index: Any, *args: Any) -> Number | None:
    return walk.emit("embedding", [weight, index])


def op_index(walk: Walker, table: Any, indices: Any) -> Number | None:
    """Positions along one axis, or rows of a table, as a learned bias per position looks them up."""
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if len(given) != 1 or given[0][1].meta["val"].dtype == torch.bool:
        return None
    axis, index = given[0]
    if axis == 0 and len(walk.shape(table)) == 2 and walk.graph.values[walk.of(index)].data is None:
        return walk.emit("embedding", [table, index])
    if axis == 0 and len(walk.shape(table)) == 2 and walk.graph.values[walk.of(table)].param:
        return walk.emit("embedding", [table, index])
    return op_index_select(walk, table, axis, index)


def op_glu(walk: Walker, x: Any, dim: Any = -1) -> Number | None:
    shape = walk.shape(x)
    dim %= len(shape)
    half = shape[dim] // 2
    size = (*shape[:dim], half, *shape[dim + 1 :])
    value = walk.take(x, dim, range(half), (0, 2))
    gate = walk.emit("elementwise", [walk.take(x, dim, range(half, 2 * half), (1, 2))], size, fn="sigmoid")
    return walk.emit("elementwise", [value, gate], size, fn="mul")


def op_pixel_shuffle(walk: Walker, x: Any, factor: Any) -> Number | None:
    return walk.emit("pixel_shuffle", [x], factor=factor)


def op_pixel_unshuffle(walk: Walker, x: Any, factor: Any) -> Number | None:
    return walk.emit("pixel_unshuffle", [x], factor=factor)


def op_channel_shuffle(walk: Walker, x: Any, groups: Any) -> Number | None:
    n, c, *rest = walk.shape(x)
    wide = walk.emit("reshape", [x], (n, groups, c // groups, *rest))
    order = (0, 2, 1, *range(3, len(rest) + 3))
    swapped = walk.emit("permute", [wide], (n, c // groups, groups, *rest), order=order)
    return walk.emit("reshape", [swapped])


def _recurrent(
    walk: Walker,
    cell: Any,
    x: Any,
    states: Any,
    weights: Any,
    has_bias: Any,
    layers: Any,
    dropout: Any,
    train: Any,
    both: Any,
    batch_first: Any,
) -> None:
    """One node per layer and direction; directions stand side by side."""
    directions = 2 if both else 1
    per = 4 if has_bias else 2
    if len(weights) != per * layers * directions:  # a projected LSTM
        return
    time = tuple(walk.shape(x)[:-1])
    hidden = walk.shape(states[0])[-1]
    at = walk.of(x)
    inner = walk.module
    own = bool(inner) and isinstance(walk.model.get_submodule(inner), nn.RNNBase)
    made_here = own and all(isinstance(s, CALLS) and "zeros" in str(s.target) for s in states)
    lasts: list[Number] = []
    for layer in range(layers):
        sides = []
        for side in range(directions):
            k = per * (layer * directions + side)
            w = [*weights[k : k + per], *([None, None] if not has_bias else [])]
            first = [walk.of(s) for s in states]
            sides.append(
                walk.emit(
                    "recurrent",
                    [at, *w, *first],
                    (*time, hidden),
                    cell=cell,
                    own_state=made_here,
                    can_bias=bool(has_bias),
                )
            )
            lasts.append(sides[-1])
        at = sides[0] if not both else walk.emit("cat", sides, (*time, 2 * hidden), axis=len(time))
    if len(lasts) > 1:
        walk.emit("same_width", lasts, ())
    one = (1, *walk.shape(states[0])[1:])

    def final() -> Number:
        parts = [walk.emit("last_state", [number], one) for number in lasts]
        return parts[0] if len(parts) == 1 else walk.emit("cat", parts, walk.shape(states[0]), axis=0)

    walk.pieces[walk.node.name] = [lambda: at, *(final for _ in states)]


def op_gru(walk: Walker, x: Any, state: Any, weights: Any, *rest: Any) -> None:
    if isinstance(weights, list | tuple):
        _recurrent(walk, "gru", x, [state], weights, *rest)


def op_lstm(walk: Walker, x: Any, states: Any, weights: Any, *rest: Any) -> None:
    if isinstance(weights, list | tuple) and isinstance(states, list | tuple):
        _recurrent(walk, "lstm", x, states, weights, *rest)


def op_rnn_tanh(walk: Walker, x: Any, state: Any, weights: Any, *rest: Any) -> None:
    if isinstance(weights, list | tuple):
        _recurrent(walk, "rnn", x, [state], weights, *rest)


op_rnn_relu = op_rnn_tanh
