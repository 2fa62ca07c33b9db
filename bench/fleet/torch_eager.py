# SPDX-License-Identifier: Apache-2.0
"""A network of the fleet in torch, operator by operator."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.fleet.spaces import Design, Layer

ACTIVATIONS = {"relu": functional.relu, "relu6": functional.relu6, "hswish": functional.hardswish}


class Eager:
    """Runs a design without a graph; weights are random."""

    def __init__(self, design: Design) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = design.shapes()
        self.steps: list[tuple[Layer, Tensor | None, Tensor | None]] = []
        for layer in design.layers:
            c, h, w = shapes[layer.inputs[0]] if layer.inputs[0] >= 0 else design.input_shape
            sizes = {
                "conv": (layer.out, c // layer.groups, layer.kernel, layer.kernel),
                "fc": (layer.out, c * h * w),
            }.get(layer.op)
            weight = bias = None
            if sizes:
                weight = torch.randn(sizes, generator=generator) * math.sqrt(2 / math.prod(sizes[1:]))
                bias = torch.randn(layer.out, generator=generator) * 0.1
            self.steps.append((layer, weight, bias))

    def __call__(self, image: Tensor) -> Tensor:
        """The last layer's output."""
        values: list[Tensor] = []
        for layer, weight, bias in self.steps:
            given = [values[i] if i >= 0 else image for i in layer.inputs]
            value = self.step(layer, given, weight, bias)
            values.append(ACTIVATIONS[layer.act](value) if layer.act else value)
        return values[-1].flatten(1)

    @staticmethod
    def step(layer: Layer, given: list[Tensor], weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """One layer without its activation."""
        side = (layer.kernel - 1) // 2
        if layer.op == "conv":
            assert weight is not None
            return functional.conv2d(given[0], weight, bias, layer.stride, side, 1, layer.groups)
        if layer.op == "fc":
            assert weight is not None
            return functional.linear(given[0].flatten(1), weight, bias)
        if layer.op == "maxpool":
            return functional.max_pool2d(given[0], layer.kernel, layer.stride, side)
        if layer.op == "avgpool":
            return functional.avg_pool2d(given[0], layer.kernel, layer.stride, side)
        if layer.op == "gap":
            return given[0].mean((2, 3), keepdim=True)
        if layer.op == "add":
            return given[0] + given[1]
        return torch.cat(given, 1) if layer.op == "concat" else given[0]
