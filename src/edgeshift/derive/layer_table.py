# SPDX-License-Identifier: Apache-2.0
"""What each layer costs at every width, measured alone in the runtime: the table that training methods decide by."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgeshift.core.errors import BadValue
from edgeshift.core.files import write_json
from edgeshift.core.progress import Progress, Silent
from edgeshift.core.values import ModelRef
from edgeshift.devices import describe_device
from edgeshift.formats import open_onnx
from edgeshift.models import build as build_model
from edgeshift.models import example

# Sizes that are timed, beside a layer's own: dense where kernels work in blocks, thin above.
SIZES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# Calls before the count, calls counted, and the least time that they take together.
WARM, CALLS, SECONDS = 3, 9, 0.01
OPSET, IR = 17, 8
# ms; of a layer whose time is that of an idle call.
LEAST = 1e-5


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer and what it is given.

    Attributes:
        weight: Shape of its weight.
        given: Shape of its input, one image.
        options: ONNX attributes of a convolution; empty = linear.
        groups: Of a convolution.
    """

    weight: tuple[int, ...]
    given: tuple[int, ...]
    options: tuple[tuple[str, tuple[int, ...]], ...]
    groups: int

    def sizes(self, axis: int) -> tuple[int, ...]:
        """Sizes of that axis of the weight to time, its own last; a group's columns are never cut."""
        whole = self.weight[axis]
        if self.groups > 1:
            each = self.weight[0] // self.groups
            return (whole,) if axis else (*(n for n in SIZES if n < whole and n % each == 0), whole)
        return (*(n for n in SIZES if n < whole), whole)

    def file(self, rows: int, columns: int) -> bytes:
        """The layer alone as an ONNX file, cut to that many rows and columns, with a ReLU behind it."""
        groups = self.groups * rows // self.weight[0] if self.groups > 1 else 1
        given: list[str | int | None]
        given = ["n", columns * groups, *self.given[1:]] if self.options else ["n", columns]
        random = np.random.default_rng(0)
        shape = (rows, columns, *self.weight[2:])
        tensors = {
            "w": random.standard_normal(shape, dtype=np.float32) * np.float32(0.05),
            "b": np.zeros(rows, np.float32),
        }
        if self.options:
            node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=groups)
            node.attribute.extend(helper.make_attribute(n, v) for n, v in self.options)
        else:
            node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
        graph = helper.make_graph(
            [node, helper.make_node("Relu", ["y"], ["z"])],
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(t, n) for n, t in tensors.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        return bytes(onnx.shape_inference.infer_shapes(model, strict_mode=True).SerializeToString())


# One multiplication: what is left of a call when there is nothing to do.
IDLE = Layer((1, 1), (1,), (), 1)


def layer_costs(
    ref: ModelRef, out: Path, *, threads: int = 1, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure every layer of a model at every width, and write the table that `table` options take.

    Each layer runs alone, a ReLU behind it, batch 1, less what a call costs that does nothing; a size between two
    of the table counts as the next larger one. Costs are made to rise with the sizes, so that noise buys nothing.
    What a whole network costs is less than the sum: layers in a row save conversions between memory orders.

    Args:
        ref: The model.
        out: JSON file, written whole.
        threads: Of the runtime.
        progress: Who is told how far it is.

    Returns:
        What was written: `unit`, `device`, `runtime`, `threads`, `idle` (a call that does nothing, ms), and
        `layers`: weight -> `rows`, `columns`, `cost` in ms.

    Raises:
        BadValue: If the model has no layer that can be timed, or threads are below 1.
    """
    if threads < 1:
        raise BadValue("threads", threads, "at least 1")
    layers = layers_of(build_model(ref).eval(), example(ref))
    if not layers:
        raise BadValue("model", ref.name, "one with a convolution of 1 or 2 dimensions or a linear layer")
    distinct = list(dict.fromkeys(layers.values()))
    total = sum(len(kind.sizes(0)) * len(kind.sizes(1)) for kind in distinct)
    tables: dict[Layer, dict[str, Any]] = {}
    idle = milliseconds(IDLE.file(1, 1), threads)
    with (progress or Silent()).task(f"layers of {ref.name}: sizes timed", total) as step:
        for kind in distinct:
            rows, columns = kind.sizes(0), kind.sizes(1)
            cost = np.zeros((len(rows), len(columns)))
            for place in np.ndindex(cost.shape):
                took = milliseconds(kind.file(rows[place[0]], columns[place[1]]), threads)
                cost[place] = max(took - idle, LEAST)
                step(1)
            cost = np.maximum.accumulate(np.maximum.accumulate(cost, axis=0), axis=1)
            tables[kind] = {"rows": list(rows), "columns": list(columns), "cost": cost.round(6).tolist()}
    found = {
        "unit": "ms",
        "device": describe_device(),
        "runtime": open_onnx(distinct[0].file(distinct[0].sizes(0)[0], distinct[0].sizes(1)[0]), 1).runtime,
        "threads": threads,
        "idle": idle,
        "layers": {name: tables[kind] for name, kind in layers.items()},
    }
    write_json(out, found)
    return found


def layers_of(model: nn.Module, sample: Tensor) -> dict[str, Layer]:
    """Weight -> its layer, of those that one pass of the model runs."""
    names = {id(p): n for n, p in model.named_parameters()}
    found: dict[str, Layer] = {}

    def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        shape = tuple(given[0].shape[1:])
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            begin, end = zip(*map(padding, shape[1:], out.shape[2:], *sizes_of(module)), strict=True)
            options = (
                ("kernel_shape", tuple(module.kernel_size)),
                ("strides", tuple(module.stride)),
                ("dilations", tuple(module.dilation)),
                ("pads", (*begin, *end)),
            )
            found[names[id(module.weight)]] = Layer(tuple(module.weight.shape), shape, options, module.groups)
        elif isinstance(module, nn.Linear):
            found[names[id(module.weight)]] = Layer(tuple(module.weight.shape), shape, (), 1)

    hooks = [m.register_forward_hook(hook) for m in model.modules()]
    with torch.inference_mode():
        model(sample[:1])
    for h in hooks:
        h.remove()
    return found


def sizes_of(module: nn.Conv1d | nn.Conv2d) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride and dilation, each by axis."""
    return tuple(module.kernel_size), tuple(module.stride), tuple(module.dilation)


def padding(given: int, out: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding before and after along one axis that gives that output, whoever pads."""
    missing = max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - given)
    return missing // 2, missing - missing // 2


def milliseconds(file: bytes, threads: int) -> float:
    """Median time of one call."""
    session = open_onnx(file, threads)
    inputs = np.random.default_rng(1).standard_normal((1, *session.input_shape), dtype=np.float32)
    for _ in range(WARM):
        session.run(inputs)
    times: list[float] = []
    while len(times) < CALLS or sum(times) < SECONDS:
        start = time.perf_counter()
        session.run(inputs)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))
