# SPDX-License-Identifier: Apache-2.0
"""A network of the fleet in ncnn's two files (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure)."""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from bench.fleet.spaces import Design, Layer

# ncnn's activation numbers with their parameters; hard swish is x * clip(x / 6 + 1 / 2, 0, 1).
FUSED = {"": "", "relu": " 9=1", "relu6": " 9=3 -23310=2,0.0,6.0", "hswish": " 9=6 -23310=2,0.16666667,0.5"}
ALONE = {
    "relu": ("ReLU", ""),
    "relu6": ("Clip", " 0=0.0 1=6.0"),
    "hswish": ("HardSwish", " 0=0.16666667 1=0.5"),
}


def ncnn_files(design: Design, folder: Path) -> tuple[Path, Path, str]:
    """Write the two files.

    Returns:
        Path of the layers, path of the weights, name of the output.
    """
    writer = Writer(design)
    for place, layer in enumerate(design.layers):
        writer.layer(place, layer)
    param, weights = folder / f"{design.name}.param", folder / f"{design.name}.bin"
    blobs = sum(int(line.split()[3]) for line in writer.lines)
    head = ["7767517", f"{len(writer.lines)} {blobs}"]
    param.write_text("\n".join([*head, *writer.lines]) + "\n")
    weights.write_bytes(b"".join(writer.data))
    return param, weights, writer.outputs[-1][0]


class Writer:
    """Lines and weights so far."""

    def __init__(self, design: Design) -> None:
        self.design, self.shapes = design, design.shapes()
        self.random = np.random.default_rng(0)
        self.readers = Counter(i for layer in design.layers for i in layer.inputs)
        c, h, w = design.input_shape
        self.lines = [f"Input x 0 1 x 0={w} 1={h} 2={c}"]
        self.data: list[bytes] = []
        # One name per reader: ncnn wants every value to be read once.
        self.outputs: list[list[str]] = []
        self.image = self.shared("x", self.readers[-1])

    def shared(self, name: str, readers: int) -> list[str]:
        """Names under which readers find a value."""
        if readers < 2:
            return [name]
        names = [f"{name}_{i}" for i in range(readers)]
        self.lines.append(f"Split s{name} 1 {readers} {name} {' '.join(names)}")
        return names

    def layer(self, place: int, layer: Layer) -> None:
        """Write one layer."""
        given = [(self.outputs[i] if i >= 0 else self.image).pop() for i in layer.inputs]
        name = f"b{place}"
        shape = self.shapes[layer.inputs[0]] if layer.inputs[0] >= 0 else self.design.input_shape
        kind, options = self.described(layer, shape)
        act = layer.act
        if layer.op in ("conv", "fc"):
            options, act = options + FUSED[act], ""
        if layer.op == "act":
            kind, options = ALONE[act]
            act = ""
        made = f"{name}r" if act else name
        self.lines.append(f"{kind} l{place} {len(given)} 1 {' '.join(given)} {made}{options}")
        if act:
            kind, options = ALONE[act]
            self.lines.append(f"{kind} a{place} 1 1 {made} {name}{options}")
        self.outputs.append(self.shared(name, self.readers[place]))

    def described(self, layer: Layer, shape: tuple[int, int, int]) -> tuple[str, str]:
        """ncnn's name and parameters of a layer; stores its weights."""
        side = (layer.kernel - 1) // 2
        if layer.op == "conv":
            size = self.store(layer.out, shape[0] // layer.groups * layer.kernel**2)
            text = f" 0={layer.out} 1={layer.kernel} 3={layer.stride} 4={side} 5=1 6={size}"
            return (
                ("ConvolutionDepthWise", f"{text} 7={layer.groups}")
                if layer.groups > 1
                else ("Convolution", text)
            )
        if layer.op == "fc":
            return "InnerProduct", f" 0={layer.out} 1=1 2={self.store(layer.out, math.prod(shape))}"
        if layer.op in ("maxpool", "avgpool"):
            return (
                "Pooling",
                f" 0={int(layer.op == 'avgpool')} 1={layer.kernel} 2={layer.stride} 3={side} 5=1",
            )
        return {
            "gap": ("Pooling", " 0=1 4=1"),
            "add": ("BinaryOp", " 0=0"),
            "concat": ("Concat", " 0=0"),
            "act": ("", ""),
        }[layer.op]

    def store(self, out: int, inner: int) -> int:
        """Store weight and bias; how many numbers the weight has."""
        weight = self.random.standard_normal(out * inner, np.float32) * math.sqrt(2 / inner)
        bias = self.random.standard_normal(out, np.float32) * 0.1
        self.data += [bytes(4), weight.astype("<f4").tobytes(), bias.astype("<f4").tobytes()]
        return out * inner
