# SPDX-License-Identifier: Apache-2.0
"""Operators that ONNX's reference evaluator rounds to float32 or computes entry by entry, in float64."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from edgeshift.graph.channels import Array

_erf = np.vectorize(math.erf, otypes=[np.float64])


class Erf(OpRun):
    """Gauss error function; the evaluator's own rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (_erf(x).astype(x.dtype),)


class HardSwish(OpRun):
    """x times hard sigmoid of slope 1/6; the function body of the standard stores that slope as float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.asarray(x * np.clip(x / 6 + 0.5, 0, 1), x.dtype),)


class Gelu(OpRun):
    """Gaussian error linear unit; the function body of the standard stores its roots as float32."""

    op_domain = ""

    def _run(self, x: Array, approximate: Any = None) -> tuple[Array]:
        if approximate == "tanh":
            inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        else:
            inner = _erf(x / math.sqrt(2))
        return (np.asarray(0.5 * x * (1 + inner), x.dtype),)


class QuantizeLinear(OpRun):
    """Nearest step, halves to even; the evaluator's own wants the newest opset."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, zero: Any = None, axis: Any = None, block_size: Any = None,
        output_dtype: Any = None, precision: Any = None, saturate: Any = None,
    ) -> tuple[Array]:  # fmt: skip
        if block_size or output_dtype or (zero is not None and zero.dtype.kind not in "iu"):
            raise NotImplementedError("QuantizeLinear in blocks or to floats")
        zero = np.zeros(1, np.uint8) if zero is None else zero
        shape = scales_shape(scale, x.ndim, axis)
        steps = np.rint(x / scale.reshape(shape)) + zero.astype(x.dtype).reshape(shape)
        bounds = np.iinfo(zero.dtype)
        return (np.clip(steps, bounds.min, bounds.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """Steps from the zero point; the evaluator's own wants the newest opset."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, zero: Any = None, axis: Any = None, block_size: Any = None,
        output_dtype: Any = None,
    ) -> tuple[Array]:  # fmt: skip
        if block_size or output_dtype:
            raise NotImplementedError("DequantizeLinear in blocks")
        shape = scales_shape(scale, x.ndim, axis)
        steps = x.astype(scale.dtype)
        if zero is not None:
            steps = steps - zero.astype(scale.dtype).reshape(shape)
        return (np.asarray(steps * scale.reshape(shape)),)


def scales_shape(scale: Array, rank: int, axis: int | None) -> tuple[int, ...]:
    """Shape in which scales broadcast: one of them for all, or one for each place along an axis."""
    if scale.size == 1:
        return (1,) * rank
    at = (1 if axis is None else axis) % rank
    return tuple(len(scale) if d == at else 1 for d in range(rank))


class MaxPool(OpRun):
    """Largest number in each window."""

    op_domain = ""

    def _run(
        self, x: Array, auto_pad: Any = None, ceil_mode: Any = None, dilations: Any = None,
        kernel_shape: Any = None, pads: Any = None, storage_order: Any = None, strides: Any = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        window = Window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, bool(ceil_mode))
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        parts = window.of(x, lowest, lowest)
        flat = parts.reshape(*parts.shape[: x.ndim], -1)
        if len(self.onnx_node.output) < 2:
            return (flat.max(-1),)
        places = window.of(np.arange(x.size).reshape(x.shape), -1, -1).reshape(flat.shape)
        best = flat.argmax(-1)[..., None]
        return np.take_along_axis(flat, best, -1)[..., 0], np.take_along_axis(places, best, -1)[..., 0]


class AveragePool(OpRun):
    """Mean of each window, over its real entries or, on request, over the padding too."""

    op_domain = ""

    def _run(
        self, x: Array, auto_pad: Any = None, ceil_mode: Any = None, count_include_pad: Any = None,
        dilations: Any = None, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
    ) -> tuple[Array]:  # fmt: skip
        window = Window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, bool(ceil_mode))
        over = tuple(range(x.ndim, 2 * x.ndim - 2))
        total = window.of(x, 0, 0).sum(over)
        counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
        return (total / window.of(counted, 1 if count_include_pad else 0, 0).sum(over),)


class ConvTranspose(OpRun):
    """Each entry of the input spreads the kernel around its place."""

    op_domain = ""

    def _run(
        self, x: Array, w: Array, b: Array | None = None, auto_pad: Any = None, dilations: Any = None,
        group: Any = None, kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None,
        pads: Any = None, strides: Any = None,
    ) -> tuple[Array]:  # fmt: skip
        rank, groups = x.ndim - 2, int(group or 1)
        kernel, sizes = w.shape[2:], x.shape[2:]
        steps, gaps = list(strides or [1] * rank), list(dilations or [1] * rank)
        extra = list(output_padding or [0] * rank)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, gaps, strict=True)]
        full = [(n - 1) * s + r + e for n, s, r, e in zip(sizes, steps, reach, extra, strict=True)]
        result = np.zeros((x.shape[0], groups, w.shape[1], *full), x.dtype)
        parts = x.reshape(x.shape[0], groups, -1, *sizes)
        weights = w.reshape(groups, -1, *w.shape[1:])
        for tap in np.ndindex(*kernel):
            spread = np.einsum("ngi...,gio->ngo...", parts, weights[(..., *tap)])
            at = [
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, gaps, sizes, steps, strict=True)
            ]
            result[(slice(None), slice(None), slice(None), *at)] += spread
        result = result.reshape(x.shape[0], -1, *full)
        auto = auto_pad or "NOTSET"
        wanted = output_shape or (
            [n * s for n, s in zip(sizes, steps, strict=True)] if "SAME" in auto else None
        )
        begin, end = self._crop(full, wanted, list(pads or [0] * 2 * rank), auto)
        result = result[
            (slice(None), slice(None), *(slice(p, n - q) for p, q, n in zip(begin, end, full, strict=True)))
        ]
        return (result if b is None else result + b.reshape(-1, *[1] * rank),)

    @staticmethod
    def _crop(full: list[int], wanted: Any, pads: list[int], auto: str) -> tuple[list[int], list[int]]:
        """What goes at the beginning and at the end of each axis."""
        if wanted is None:
            return pads[: len(full)], pads[len(full) :]
        total = [n - int(size) for n, size in zip(full, wanted, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        return (small, large) if auto == "SAME_UPPER" else (large, small)


class Window:
    """Where the windows of a pooling operator lie, in any number of spatial axes."""

    def __init__(
        self,
        sizes: Sequence[int],
        kernel: Sequence[int],
        strides: Sequence[int] | None,
        dilations: Sequence[int] | None,
        pads: Sequence[int] | None,
        auto_pad: str | None,
        ceil: bool,
    ) -> None:
        rank = len(sizes)
        self.strides = list(strides or [1] * rank)
        self.dilations = list(dilations or [1] * rank)
        self.reach = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilations, strict=True)]
        auto = auto_pad or "NOTSET"
        given = list(pads or [0] * 2 * rank) if auto == "NOTSET" else [0] * 2 * rank
        self.pads = [(given[i], given[i + rank]) for i in range(rank)]
        self.counts = []
        for i, size in enumerate(sizes):
            if auto.startswith("SAME"):
                count = -(-size // self.strides[i])
                missing = max(0, (count - 1) * self.strides[i] + self.reach[i] - size)
                small, large = missing // 2, missing - missing // 2
                self.pads[i] = (small, large) if auto == "SAME_UPPER" else (large, small)
            else:
                room = size + sum(self.pads[i]) - self.reach[i]
                count = (-(-room // self.strides[i]) if ceil else room // self.strides[i]) + 1
                if ceil and (count - 1) * self.strides[i] >= size + self.pads[i][0]:
                    count -= 1  # a window must not begin in the padding behind the end
            self.counts.append(count)

    def of(self, x: Array, pad: float, beyond: float) -> Array:
        """Every window, as `(..., *counts, *kernel)`; padding is `pad`, what a ceil reaches is `beyond`."""
        rank = len(self.counts)
        none = [(0, 0)] * (x.ndim - rank)
        x = np.pad(x, [*none, *self.pads], constant_values=pad)
        ends = [(n - 1) * s + r for n, s, r in zip(self.counts, self.strides, self.reach, strict=True)]
        extra = [(0, max(0, end - size)) for end, size in zip(ends, x.shape[-rank:], strict=True)]
        x = np.pad(x, [*none, *extra], constant_values=beyond)
        axes = tuple(range(x.ndim - rank, x.ndim))
        parts = np.lib.stride_tricks.sliding_window_view(x, tuple(self.reach), axes)
        steps = [slice(0, end - r + 1, s) for end, r, s in zip(ends, self.reach, self.strides, strict=True)]
        taps = [slice(None, None, d) for d in self.dilations]
        return parts[(slice(None),) * (x.ndim - rank) + (*steps, *taps)]


def evaluator(model: ModelProto) -> ReferenceEvaluator:
    """A float64 evaluator of a model."""
    ours: list[type[OpRun]] = [Erf, Gelu, HardSwish, MaxPool, AveragePool, ConvTranspose]
    return ReferenceEvaluator(model, new_ops=[*ours, QuantizeLinear, DequantizeLinear])
