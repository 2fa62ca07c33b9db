# SPDX-License-Identifier: Apache-2.0
"""The network in an ONNX file: read from its bytes, sized by one run in ONNX Runtime. No onnx package."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.formats.onnx_read import RawGraph, RawNode, read_graph
from edgeshift.formats.onnx_write import with_outputs
from edgeshift.formats.session import ONLY_FATAL, first_line
from edgeshift.predict.network import CONVOLUTIONS, KIND_OF, Network, Node

# Passed through when a network is run, not trained.
NOTHING = ("Identity", "Dropout")
# Their outputs are known from sizes alone.
SIZES = ("Shape", "Size")
# Element types that hold places and sizes, not learnt numbers.
PLACES = (7, 9)
# ONNX Runtime computes these with the convolution or product before them
# (onnxruntime/core/optimizer: conv_activation_fusion, gemm_activation_fusion, nchwc_transformer).
FUSED_ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
# Place of the weight among the inputs, where it is not 1.
WEIGHT_AT = {"QLinearConv": 3, "QLinearMatMul": 3}
NUMPY = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}
Arrays = Mapping[str, NDArray[Any]]


def network_of(
    source: str | Path | bytes,
    batch_size: int = 1,
    name: str = "",
    sizes: Mapping[str, Sequence[int]] | None = None,
) -> Network:
    """The network in an ONNX file, for one batch size.

    Dropout, identities, operators that no output needs and those that no input reaches are left out. The
    sizes are those of one run with zeros as input.

    Args:
        source: Path or content of the file.
        batch_size: Stands for the open first size of every input, 1 or more.
        name: What to call it; the file's own name if left out.
        sizes: Input name -> all its sizes, where more than the first is open.

    Raises:
        BadValue: If there is no such file, the batch size is below 1, or a size stays open.
        BadPortfolio: If the bytes are no ONNX model that runs, or it points at other files.
    """
    if batch_size < 1:
        raise BadValue("batch_size", batch_size, "at least 1")
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise BadValue("ONNX file", str(source), "an existing file")
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    graph = read_graph(data)
    values = run_all(data, graph, batch_size, sizes or {})
    called = name or ("network" if isinstance(source, bytes) else Path(source).stem)
    inputs = [values[n] for n in graph.inputs]
    if not inputs:
        raise BadPortfolio(f"{called} must take an input, got none")
    nodes = Described(graph, values).nodes()
    total = sum(int(v.nbytes) for v in inputs)
    return Network(called, fuse(nodes), tuple(inputs[0].shape), total).check()


def run_all(model: bytes, graph: RawGraph, batch_size: int, sizes: Mapping[str, Sequence[int]]) -> Arrays:
    """Every value of one run without optimisation, inputs included."""
    made = [o for node in graph.nodes for o in node.outputs if o and o not in graph.outputs]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = ONLY_FATAL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            with_outputs(model, made), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ORT raises a dozen classes of its own, none with a common base
        raise BadPortfolio(f"ONNX file must open in ONNX Runtime, got: {first_line(error)}") from error
    feeds = {}
    for given in session.get_inputs():
        asked = tuple(sizes.get(given.name, given.shape))
        first = asked[0] if asked and isinstance(asked[0], int) else batch_size
        shape = (first, *asked[1:]) if asked else ()
        if not all(isinstance(size, int) for size in shape):
            raise BadValue(f"sizes of input {given.name}", given.shape, "fixed but for the first; pass sizes")
        feeds[given.name] = np.zeros(shape, NUMPY.get(given.type, np.float32))
    names = [o.name for o in session.get_outputs()]
    try:
        answers = session.run(names, feeds)
    except Exception as error:  # as above
        raise BadPortfolio(
            f"ONNX file must answer a batch of {batch_size}, got: {first_line(error)}"
        ) from error
    kept = {n: a for n, a in zip(names, answers, strict=True) if isinstance(a, np.ndarray)}
    return {**feeds, **kept}


class Described:
    """Walks a graph once and describes what is left of it."""

    def __init__(self, graph: RawGraph, values: Arrays) -> None:
        self._graph = graph
        self._values = values
        self._place: dict[str, int] = dict.fromkeys(graph.inputs, -1)
        # Constant value -> the stored tensors it is made of.
        self._stored: dict[str, tuple[str, ...]] = {name: (name,) for name in graph.tensors}
        self._seen: set[str] = set()

    def nodes(self) -> list[Node]:
        """The operators that matter, in order."""
        found: list[Node] = []
        for node in self._live():
            reads = [i for i in (*node.inputs, *node.outer) if i]
            moving = [i for i in reads if i in self._place]
            if node.op in SIZES or not moving:
                sources = node.inputs[:1] if node.op in QUANTISERS else reads
                stored = (
                    () if node.op in SIZES else tuple(t for i in sources for t in self._stored.get(i, ()))
                )
                self._stored |= dict.fromkeys(node.outputs, stored)
                continue
            if node.op in NOTHING:
                self._place |= dict.fromkeys(node.outputs, self._place[node.inputs[0]])
                self._alias(node)
                continue
            self._place |= dict.fromkeys((o for o in node.outputs if o), len(found))
            found.append(self._describe(node, moving))
        return found

    def _alias(self, node: RawNode) -> None:
        if node.inputs[0] in self._stored:
            self._stored[node.outputs[0]] = self._stored[node.inputs[0]]

    def _live(self) -> list[RawNode]:
        """Operators that some output needs."""
        needed = set(self._graph.outputs)
        kept = []
        for node in reversed(self._graph.nodes):
            if needed.intersection(node.outputs):
                needed.update(i for i in (*node.inputs, *node.outer) if i)
                kept.append(node)
        return kept[::-1]

    def _describe(self, node: RawNode, moving: list[str]) -> Node:
        first = next((i for i in node.inputs if i in self._place), moving[0])
        outputs = [self._values[o] for o in node.outputs if o in self._values]
        shape = tuple(outputs[0].shape) if outputs else ()
        weights = self._weights(node)
        fresh = [t for t in weights if t not in self._seen]
        self._seen.update(fresh)
        tensors = self._graph.tensors
        kernel = self._kernel(node)
        stride = node.attributes.get("strides")
        group = node.attributes.get("group", 1)
        distinct = list(dict.fromkeys(moving))
        return Node(
            op=node.op,
            inputs=tuple(self._place[i] for i in distinct),
            in_shape=tuple(self._values[first].shape),
            shape=shape,
            macs=self._macs(node, shape, kernel),
            parameters=sum(tensors[t].elements for t in fresh),
            bytes_read=sum(int(self._values[i].nbytes) for i in distinct)
            + sum(tensors[t].size_bytes for t in weights),
            bytes_written=sum(int(o.nbytes) for o in outputs),
            kernel=kernel,
            stride=int(max(stride)) if isinstance(stride, tuple) else 1,
            groups=group if isinstance(group, int) else 1,
            bits=8 * outputs[0].itemsize if outputs else 32,
        )

    def _weights(self, node: RawNode) -> list[str]:
        """Stored tensors of learnt numbers that an operator reads; the scales of a quantiser are none."""
        if node.op in QUANTISERS:
            return []
        found = [t for i in node.inputs for t in self._stored.get(i, ()) if i not in self._place]
        return [t for t in dict.fromkeys(found) if self._graph.tensors[t].data_type not in PLACES]

    def _weight_shape(self, node: RawNode) -> tuple[int, ...]:
        at = WEIGHT_AT.get(node.op, 1)
        name = node.inputs[at] if len(node.inputs) > at else ""
        if name in self._values:
            return tuple(self._values[name].shape)
        return self._graph.tensors[name].shape if name in self._graph.tensors else ()

    def _kernel(self, node: RawNode) -> tuple[int, int]:
        asked = node.attributes.get("kernel_shape")
        window = asked if isinstance(asked, tuple) else ()
        if not window and node.op in CONVOLUTIONS:
            window = self._weight_shape(node)[2:]
        return (int(window[0]), int(window[-1])) if len(window) > 1 else (int((window or (1,))[0]), 1)

    def _macs(self, node: RawNode, shape: tuple[int, ...], kernel: tuple[int, int]) -> int:
        weight = self._weight_shape(node)
        if node.op == "ConvTranspose":
            return math.prod(self._values[node.inputs[0]].shape) * math.prod(weight[1:])
        if node.op in CONVOLUTIONS:
            return math.prod(shape) * math.prod(weight[1:])
        if node.op == "Gemm":
            given = self._values.get(node.inputs[0])
            inner = weight[1] if node.attributes.get("transB") else weight[0]
            return math.prod(shape) * (inner if given is not None else 0)
        if KIND_OF.get(node.op) == "linear" and len(weight) > 1:
            return math.prod(shape) * weight[-2]
        if KIND_OF.get(node.op) == "recurrent":
            again = self._weight_shape(replace(node, inputs=(node.inputs[0], node.inputs[2])))
            steps = math.prod(self._values[node.inputs[0]].shape[:2])
            return steps * (math.prod(weight) + math.prod(again))
        return 0


def fuse(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The same operators, each with the head of the kernel that computes it.

    An operator joins the kernel before it if nobody else reads what that kernel makes: batch norm after a
    convolution, an activation after a convolution, product or addition that has joined one, an addition after
    a convolution, and every change of precision.
    """
    readers = [0] * len(nodes)
    for node in nodes:
        for i in set(node.inputs):
            if i >= 0:
                readers[i] += 1
    heads: list[int] = []
    for place, node in enumerate(nodes):
        heads.append(_head(nodes, heads, readers, place, node))
    return tuple(replace(node, into=head) for node, head in zip(nodes, heads, strict=True))


def _head(nodes: Sequence[Node], heads: list[int], readers: list[int], place: int, node: Node) -> int:
    alone = [i for i in node.inputs if i >= 0 and readers[i] == 1]
    for i in alone:
        head = nodes[heads[i]]
        heavy = head.op in CONVOLUTIONS or KIND_OF.get(head.op) == "linear"
        if node.op in QUANTISERS:
            return heads[i]
        if node.op == "BatchNormalization" and nodes[i].op in CONVOLUTIONS:
            return heads[i]
        if heavy and node.op in FUSED_ACTIVATIONS:
            return heads[i]
        # The other summand must exist before the convolution's kernel starts: the later branch takes it.
        plain = nodes[i].op in (*CONVOLUTIONS, "BatchNormalization") and head.op in CONVOLUTIONS
        if node.op == "Add" and plain and len(node.inputs) == 2 and i == max(node.inputs):
            return heads[i]
    return place
