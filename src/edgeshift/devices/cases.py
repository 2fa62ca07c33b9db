# SPDX-License-Identifier: Apache-2.0
"""What the probe measures: short chains of layers over a grid of sizes, written as ONNX without onnx."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeshift.formats.onnx_write import OnnxWriter

OPS = ("conv", "linear", "add", "relu", "maxpool", "gap")
# Channels around the steps of vector widths 4, 8 and 16.
STEPS = (4, 8, 12, 15, 16, 17, 20, 24, 28, 32, 40, 48, 64)


@dataclass(frozen=True)
class Layer:
    """One layer of a chain.

    Attributes:
        op: One of `OPS`.
        in_channels: Channels, or inputs of "linear".
        out_channels: The same where the operator keeps them.
        side: Height and width of the input; 1 for "linear".
        kernel: Side of the window.
        stride: Of the window.
        groups: Of "conv".
        relu: Whether a ReLU follows that a runtime may fuse.
    """

    op: str
    in_channels: int
    out_channels: int
    side: int = 1
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    relu: bool = False

    @property
    def out_side(self) -> int:
        """Height and width of the output."""
        return 1 if self.op in ("gap", "linear") else math.ceil(self.side / self.stride)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input."""
        if self.op == "linear":
            return self.in_channels * self.out_channels
        if self.op != "conv":
            return 0
        window = self.kernel**2 * self.in_channels // self.groups
        return self.out_side**2 * self.out_channels * window

    @property
    def parameters(self) -> int:
        """Stored numbers, bias included."""
        if self.op == "linear":
            return (self.in_channels + 1) * self.out_channels
        return (
            (self.kernel**2 * self.in_channels // self.groups + 1) * self.out_channels * (self.op == "conv")
        )

    @property
    def moved_bytes(self) -> int:
        """Inputs, outputs and stored numbers in float32."""
        reads = (2 if self.op == "add" else 1) * self.in_channels * self.side**2
        return 4 * (reads + self.out_channels * self.out_side**2 + self.parameters)


@dataclass(frozen=True)
class Case:
    """A chain whose last part is timed: time(first + rest) - time(first).

    What a runtime spends once per call, such as changing the layout of the input, drops out.

    Attributes:
        first: Layers that are there in both.
        rest: Layers that are only there in the longer one.
    """

    first: tuple[Layer, ...]
    rest: tuple[Layer, ...]


def again(layer: Layer, times: int = 2) -> Case:
    """A layer that fits after itself."""
    return Case((layer,), (layer,) * times)


def pair(there: Layer, back: Layer) -> Case:
    """Two layers that fit after each other in both orders."""
    return Case((there, back), (there, back))


def conv(c: int, out: int, side: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Layer:
    """A convolution with ReLU."""
    return Layer("conv", c, out, side, kernel, stride, groups, relu=True)


def grid(*, quick: bool = False) -> list[Case]:
    """The cases, the most telling first.

    Args:
        quick: Only channel steps at one size, one case of each kind, and the sizes of caches.
    """
    steps = STEPS[4:9] if quick else STEPS
    cases = [again(conv(c, c, 16, kernel)) for kernel in (3, 1) for c in steps]
    cases += [again(conv(c, c, 16, 3, 1, c)) for c in steps]
    cases += [again(Layer("linear", c, c)) for c in ((64, 256) if quick else (10, 32, 64, 128, 256, 512))]
    cases += [again(Layer("relu", c, c, side)) for c, side in ((16, 8), (16, 32), (64, 64), (64, 256))]
    for op in ("add", "maxpool"):
        kernel = 3 if op == "maxpool" else 1
        cases += [again(Layer(op, c, c, side, kernel)) for c, side in ((16, 8), (16, 32), (64, 16))]
    cases += [
        Case((Layer("relu", c, c, side),), (Layer("gap", c, c, side),)) for c, side in ((64, 8), (128, 4))
    ]
    if quick:
        return cases
    cases += [again(conv(c, c, side)) for side in (4, 8, 32) for c in (8, 16, 24, 32, 64, 128)]
    cases += [again(conv(c, c, side, 1)) for side in (4, 8, 32) for c in (16, 32, 64, 128, 256)]
    cases += [
        again(conv(c, c, side, kernel, 1, c))
        for kernel in (3, 5)
        for side in (4, 8, 32)
        for c in (16, 48, 96, 192)
    ]
    for kernel in (1, 3):
        for c, out in (
            (3, 16),
            (3, 32),
            (8, 48),
            (16, 96),
            (24, 72),
            (32, 128),
            (64, 24),
            (112, 64),
            (160, 40),
        ):
            for side in (8, 16):
                cases.append(pair(conv(c, out, side, kernel), conv(out, c, side, kernel)))
    for kernel in (1, 3):
        cases += [Case((conv(c, c, 32, kernel, 2),), (conv(c, c, 16, kernel, 2),)) for c in (16, 24, 32, 64)]
    cases += [Case((conv(c, c, 32, 3, 2, c),), (conv(c, c, 16, 3, 2, c),)) for c in (16, 48, 96)]
    cases += [again(conv(c, c, 16, 1, 1, 2)) for c in (16, 32, 64)]
    # Sizes drawn once: the regressors need more than a lattice.
    random = np.random.default_rng(0)
    for _ in range(40):
        c, out = (int(x) for x in random.integers(4, 129, 2))
        side, kernel = int(random.choice([4, 8, 16, 32])), int(random.choice([1, 3]))
        cases.append(pair(conv(c, out, side, kernel), conv(out, c, side, kernel)))
    return cases


def model(layers: Sequence[Layer]) -> bytes:
    """An ONNX file of a chain; weights are random."""
    writer, random = OnnxWriter(), np.random.default_rng(0)
    start = layers[0]
    sizes = [start.in_channels, start.side, start.side] if start.op != "linear" else [start.in_channels]
    value = first = writer.input("x", ["batch", *sizes])
    for place, layer in enumerate(layers):
        value = _layer(writer, random, layer, value, first)
        first = value if place == 0 else first
    last = layers[-1]
    sizes = [last.out_channels, last.out_side, last.out_side] if last.op != "linear" else [last.out_channels]
    writer.output(value, ["batch", *sizes])
    return writer.model()


def _layer(writer: OnnxWriter, random: np.random.Generator, layer: Layer, value: str, first: str) -> str:
    def weight(*shape: int) -> str:
        spread = math.sqrt(2 / math.prod(shape[1:]))
        return writer.constant((random.standard_normal(shape) * spread).astype(np.float32))

    out, inner = layer.out_channels, layer.in_channels // layer.groups
    bias = writer.constant(np.full(out, 0.01, np.float32)) if layer.op in ("conv", "linear") else ""
    if layer.op == "conv":
        extra = max(0, (layer.out_side - 1) * layer.stride + layer.kernel - layer.side)
        pads = [extra // 2, extra // 2, extra - extra // 2, extra - extra // 2]
        value = writer.node(
            "Conv", [value, weight(out, inner, layer.kernel, layer.kernel), bias],
            kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2, pads=pads, group=layer.groups,
        )  # fmt: skip
    elif layer.op == "linear":
        value = writer.node("Gemm", [value, weight(out, inner), bias], transB=1)
    elif layer.op == "add":
        value = writer.node("Add", [value, first])
    elif layer.op == "maxpool":
        side = layer.kernel // 2
        value = writer.node(
            "MaxPool", [value], kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2, pads=[side] * 4
        )
    elif layer.op == "gap":
        value = writer.node("GlobalAveragePool", [value])
    # A chain of ReLUs is one ReLU to an optimiser; a leaky one is not.
    if layer.op == "relu":
        return writer.node("LeakyRelu", [value], alpha=0.5)
    return writer.node("Relu", [value]) if layer.relu else value
