# SPDX-License-Identifier: Apache-2.0
"""Convolutions, linear layers and normalisation."""

from typing import Any

from torch import nn

from edgeshift.graph.fronts.walker import Number, Walker, many


def _can_bias(walk: Walker, weight: Any, bias: Any) -> bool:
    """Whether the layer has a bias of its own, or is a module that can be given one."""
    if bias is not None:
        value = walk.graph.values[walk.of(bias)]
        return bool(value.param)
    owner, _, leaf = walk.graph.values[walk.of(weight)].param.rpartition(".")
    if leaf != "weight":
        return False
    module = walk.model.get_submodule(owner)
    inner = walk.module  # others may take its weight, but not its bias
    if inner != owner or not isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
        return False
    adds_one = type(module).forward.__module__.startswith("torch.nn.")  # a forward of the user's own may not
    return module.bias is None and adds_one


def _conv(
    walk: Walker, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, rank: int
) -> Number:
    kernel = walk.shape(w)[2:]
    padded = any(k > 1 for k in kernel) if isinstance(padding, str) and padding == "same" else False
    if not isinstance(padding, str):
        padded = any(int(p) > 0 for p in padding)
    return walk.emit(
        "conv", [x, w, bias], groups=groups, transposed=False, padded=padded, rank=rank,
        can_bias=_can_bias(walk, w, bias), **_spelled(walk, groups, w, nn.modules.conv._ConvNd),
    )  # fmt: skip


def _spelled(walk: Walker, groups: int, weight: Any, layer: type[nn.Module]) -> dict[str, Any]:
    """The channel axis, where the number of groups is not surely that of one layer of torch with these weights."""
    surely = weight is not None and isinstance(walk.modules.get(walk.module), layer)
    return {} if groups == 1 or surely else {"spelled": (1,)}


def op_conv1d(
    walk: Walker,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Number | None:
    return _conv(walk, x, w, bias, stride, many(padding), dilation, groups, 1)


def op_conv2d(
    walk: Walker,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Number | None:
    return _conv(walk, x, w, bias, stride, many(padding), dilation, groups, 2)


def op_conv3d(
    walk: Walker,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Number | None:
    return _conv(walk, x, w, bias, stride, many(padding), dilation, groups, 3)


def _transposed(
    walk: Walker,
    rank: int,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    out_padding: Any,
    groups: int,
) -> Number:
    # Overlapping, spread or clipped kernels reach positions unequally: a constant input is none after.
    kernel = walk.shape(w)[2:]
    whole = all(k == 1 for k in kernel) and all(s == 1 for s in many(stride))
    even = whole and not any(many(padding)) and not any(many(out_padding))
    return walk.emit(
        "conv", [x, w, bias], groups=groups, transposed=True, padded=not even, rank=rank,
        can_bias=_can_bias(walk, w, bias),
    )  # fmt: skip


def op_conv_transpose1d(
    walk: Walker,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> Number | None:
    return _transposed(walk, 1, x, w, bias, stride, padding, output_padding, groups)


def op_conv_transpose2d(
    walk: Walker,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> Number | None:
    return _transposed(walk, 2, x, w, bias, stride, padding, output_padding, groups)


def op_conv_transpose3d(
    walk: Walker,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> Number | None:
    return _transposed(walk, 3, x, w, bias, stride, padding, output_padding, groups)


def op_linear(walk: Walker, x: Any, w: Any, bias: Any = None) -> Number | None:
    return walk.emit("linear", [x, w, bias], can_bias=_can_bias(walk, w, bias))


def op_batch_norm(
    walk: Walker,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: Any,
    momentum: Any,
    eps: Any,
    cudnn: Any,
) -> Number | None:
    if training or mean is None:
        return None
    return walk.emit("affine", [x, weight, bias, mean, var], eps=eps)


def op_layer_norm(
    walk: Walker,
    x: Any,
    shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: Any = 1e-05,
    cudnn: Any = True,
) -> Number | None:
    rank = len(walk.shape(x))
    return walk.emit("mix_norm", [x, weight, bias], axes=tuple(range(rank - len(shape), rank)))


def op_rms_norm(walk: Walker, x: Any, shape: Any, weight: Any = None, eps: Any = None) -> Number | None:
    rank = len(walk.shape(x))
    return walk.emit("mix_norm", [x, weight], axes=tuple(range(rank - len(shape), rank)))


def op_group_norm(
    walk: Walker,
    x: Any,
    groups: Any,
    weight: Any = None,
    bias: Any = None,
    eps: Any = 1e-05,
    cudnn: Any = True,
) -> Number | None:
    return walk.emit(
        "group_norm", [x, weight, bias], groups=groups, **_spelled(walk, groups, weight, nn.GroupNorm)
    )


def op_instance_norm(
    walk: Walker,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    use_input_stats: Any,
    momentum: Any,
    eps: Any,
    cudnn: Any,
) -> Number | None:
    if not use_input_stats:
        return walk.emit("affine", [x, weight, bias, mean, var], eps=eps)
    return walk.emit("instance_norm", [x, weight, bias])
