# SPDX-License-Identifier: Apache-2.0
"""A network of the fleet as an ONNX file, in float32 or with int8 operators between quantisers."""

import math
from collections.abc import Callable

import numpy as np

from bench.fleet.spaces import Design, Layer
from edgeshift.formats.onnx_write import OnnxWriter

# What latency depends on is where numbers are rounded, not to what.
SCALE = {"activation": 0.05, "weight": 0.01}
# Padding is "same": what is left over goes to the end.
Shape = tuple[int, int, int]


def onnx_bytes(design: Design, batch_size: int | str = "batch", *, int8: bool = False) -> bytes:
    """The file; weights are random and equal for equal names.

    Args:
        design: The network.
        batch_size: First size of input and output; a text leaves it open.
        int8: Put quantisers around every operator, as static quantisation does.
    """
    writer = OnnxWriter()
    emit = Emitter(writer, design, int8=int8)
    at = emit.quantised(writer.input("x", (batch_size, *design.input_shape)), signed=True)
    outputs: list[str] = []
    for layer, shape in zip(design.layers, design.shapes(), strict=True):
        given = [outputs[i] if i >= 0 else at for i in layer.inputs]
        outputs.append(emit.layer(layer, given))
        emit.shapes.append(shape)
    last = writer.node("Flatten", [outputs[-1]], axis=1)
    writer.output(last, (batch_size, emit.shapes[-1][0]))
    return writer.model()


class Emitter:
    """Writes layer after layer."""

    def __init__(self, writer: OnnxWriter, design: Design, *, int8: bool) -> None:
        self.writer, self.design, self.int8 = writer, design, int8
        self.shapes: list[Shape] = []
        self.random = np.random.default_rng(sum(design.name.encode()))

    def quantised(self, value: str, *, signed: bool) -> str:
        """The value after rounding to 8 bits, or itself in float32."""
        if not self.int8:
            return value
        scale = self.writer.constant(np.float32(SCALE["activation"])[()] * np.ones((), np.float32))
        zero = self.writer.constant(np.array(128 if signed else 0, np.uint8))
        rounded = self.writer.node("QuantizeLinear", [value, scale, zero])
        return self.writer.node("DequantizeLinear", [rounded, scale, zero])

    def weight(self, *shape: int) -> list[str]:
        """Weight and bias."""
        writer = self.writer
        if not self.int8:
            weight = self.random.standard_normal(shape, np.float32) * math.sqrt(2 / math.prod(shape[1:]))
            bias = self.random.standard_normal(shape[0], np.float32) * np.float32(0.1)
            return [writer.constant(weight.astype(np.float32)), writer.constant(bias)]
        weight = self.random.integers(-127, 128, shape, np.int8)
        bias = self.random.integers(-1000, 1000, shape[0], np.int32)
        found = []
        for array, scale in ((weight, SCALE["weight"]), (bias, SCALE["weight"] * SCALE["activation"])):
            step = writer.constant(np.full(len(array), scale, np.float32))
            zero = writer.constant(np.zeros(len(array), array.dtype))
            found.append(writer.node("DequantizeLinear", [writer.constant(array), step, zero], axis=0))
        return found

    def layer(self, layer: Layer, given: list[str]) -> str:
        """One layer with its activation."""
        shape = self.shapes[layer.inputs[0]] if layer.inputs[0] >= 0 else self.design.input_shape
        kinds: dict[str, Callable[[Layer, list[str], Shape], str]] = {
            "conv": self.conv,
            "fc": self.fc,
            "maxpool": self.pool,
            "avgpool": self.pool,
            "act": lambda _layer, values, _shape: values[0],
            "gap": lambda _layer, values, _shape: self.writer.node("GlobalAveragePool", values),
            "add": lambda _layer, values, _shape: self.writer.node("Add", values),
            "concat": lambda _layer, values, _shape: self.writer.node("Concat", values, axis=1),
        }
        value = self.activation(layer.act, kinds[layer.op](layer, given, shape))
        return self.quantised(value, signed=layer.act not in ("relu", "relu6"))

    def window(self, layer: Layer, shape: Shape) -> dict[str, list[int]]:
        """Window, strides and padding such that sizes divide by the stride, rounded up."""
        before, after = [], []
        for size in shape[1:]:
            extra = max(0, (math.ceil(size / layer.stride) - 1) * layer.stride + layer.kernel - size)
            before.append(extra // 2)
            after.append(extra - extra // 2)
        return {
            "kernel_shape": [layer.kernel] * 2,
            "strides": [layer.stride] * 2,
            "pads": before + after,
        }

    def conv(self, layer: Layer, given: list[str], shape: Shape) -> str:
        """A convolution with bias."""
        weights = self.weight(layer.out, shape[0] // layer.groups, layer.kernel, layer.kernel)
        return self.writer.node("Conv", [given[0], *weights], group=layer.groups, **self.window(layer, shape))

    def fc(self, layer: Layer, given: list[str], shape: Shape) -> str:
        """A linear layer over all places; it keeps two axes of one place for what follows."""
        flat = self.writer.node("Flatten", given, axis=1)
        value = self.writer.node("Gemm", [flat, *self.weight(layer.out, math.prod(shape))], transB=1)
        return value

    def pool(self, layer: Layer, given: list[str], shape: Shape) -> str:
        """A pooling window."""
        return self.writer.node(
            "MaxPool" if layer.op == "maxpool" else "AveragePool", given, **self.window(layer, shape)
        )

    def activation(self, act: str, value: str) -> str:
        """The activation, if there is one."""
        if act == "relu":
            return self.writer.node("Relu", [value])
        if act == "relu6":
            low, high = (self.writer.constant(np.array(x, np.float32)) for x in (0, 6))
            return self.writer.node("Clip", [value, low, high])
        return self.writer.node("HardSwish", [value]) if act == "hswish" else value
