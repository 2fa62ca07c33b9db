# SPDX-License-Identifier: Apache-2.0
"""One description of a network for every predictor: operators, shapes, work, and what runs as one kernel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue

# Operator -> kind, where the operator alone decides; convolutions are told apart by their kernel.
KIND_OF: dict[str, str] = {
    **dict.fromkeys(("Gemm", "MatMul", "QLinearMatMul", "MatMulInteger", "Einsum", "FusedMatMul"), "linear"),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), "pool"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum"), "global_pool"),
    **dict.fromkeys(("Add", "Sub", "Sum", "QLinearAdd"), "add"),
    **dict.fromkeys(("Mul", "Div", "Pow"), "multiply"),
    **dict.fromkeys(("Concat", "Split", "QLinearConcat"), "concat"),
    **dict.fromkeys(
        ("Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "LeakyRelu", "Elu", "Selu", "Celu",
         "PRelu", "Gelu", "Softplus", "Softsign", "Erf", "Swish", "Mish", "ThresholdedRelu"), "activation"),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization", "InstanceNormalization",
                     "GroupNormalization", "LRN", "LpNormalization"), "norm"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), "softmax"),
    **dict.fromkeys(("Resize", "Upsample"), "resize"),
    **dict.fromkeys(("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Pad",
                     "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Cast"), "move"),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), "quantise"),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "recurrent"),
}  # fmt: skip
CONVOLUTIONS = ("Conv", "QLinearConv", "ConvInteger", "ConvTranspose")
KINDS = (
    "conv_1x1", "conv_3x3", "conv_large", "depthwise", "grouped", "linear", "pool", "global_pool", "add",
    "multiply", "concat", "activation", "norm", "softmax", "resize", "move", "quantise", "recurrent", "other",
)  # fmt: skip
# Columns of `Network.kernel_rows`. "places": height * width; "adds", "activations": of the operators in its tail.
KERNEL_COLUMNS = (
    "kind", "macs", "bytes_read", "bytes_written", "weight_bytes", "in_channels", "out_channels", "in_places",
    "out_places", "kernel", "stride", "groups", "bits", "batch", "adds", "activations", "depth",
)  # fmt: skip
# Sums over the network whose logs are features, in the order of `counts`.
SUMS = ("macs", "parameters", "activations", "bytes", "largest_activation", "peak_bytes")
COUNT_NAMES = (
    *(f"count_{kind}" for kind in KINDS),
    "count_operators",
    "count_kernels",
    "depth",
    *(f"log_{name}" for name in SUMS),
    *(f"log_macs_{kind}" for kind in KINDS[:6]),
)


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        op: Its ONNX type, such as "Conv".
        inputs: Places of the operators it reads, -1 = the network's own input; constants are left out.
        in_shape: Sizes of its first input, batch included.
        shape: Sizes of its output, batch included.
        macs: Multiply-accumulates for the whole batch.
        parameters: Stored numbers that it is the first to read.
        bytes_read: Inputs and stored numbers, in bytes.
        bytes_written: Its output, in bytes.
        kernel: Height and width of the window, (1, 1) where there is none.
        stride: Largest of its strides.
        groups: Groups of a convolution.
        bits: Of one number of the output.
        into: Place of the operator whose kernel also computes this one; its own place = it starts a kernel.
    """

    op: str
    inputs: tuple[int, ...]
    in_shape: tuple[int, ...]
    shape: tuple[int, ...]
    macs: int = 0
    parameters: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    groups: int = 1
    bits: int = 32
    into: int = -1

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.op not in CONVOLUTIONS:
            return KIND_OF.get(self.op, "other")
        if self.groups > 1:
            return "depthwise" if self.groups == self.in_channels else "grouped"
        largest = max(self.kernel)
        return "conv_1x1" if largest == 1 else "conv_3x3" if largest <= 3 else "conv_large"

    @property
    def in_channels(self) -> int:
        """Second size of the input; of matrices the last one."""
        return _channels(self.in_shape)

    @property
    def out_channels(self) -> int:
        """Second size of the output; of matrices the last one."""
        return _channels(self.shape)


def _channels(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) < 2 else shape[1] if len(shape) > 3 or len(shape) == 2 else shape[-1]


@dataclass(frozen=True)
class Kernel:
    """Operators that a runtime computes in one go.

    Attributes:
        head: The operator it is named after.
        tail: Operators computed with it, in order, such as a bias add and a ReLU.
        inputs: Places of the kernels it reads, -1 = the network's own input.
        bytes_read: Of all inputs that no part of it makes, and stored numbers.
        bytes_written: Of what the last part makes.
    """

    head: Node
    tail: tuple[Node, ...]
    inputs: tuple[int, ...]
    bytes_read: int
    bytes_written: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all parts."""
        return self.head.macs + sum(node.macs for node in self.tail)

    def row(self, network: "Network", depth: int) -> list[float]:
        """What `KERNEL_COLUMNS` names."""
        head, kinds = self.head, [node.kind for node in self.tail]
        inputs = sum(network.kernels[i].bytes_written if i >= 0 else network.input_bytes for i in self.inputs)
        last = self.tail[-1] if self.tail else head
        return [
            KINDS.index(head.kind),
            self.macs,
            self.bytes_read,
            self.bytes_written,
            max(0, self.bytes_read - inputs),
            head.in_channels,
            last.out_channels,
            _places(head.in_shape),
            _places(last.shape),
            math.sqrt(head.kernel[0] * head.kernel[1]),
            head.stride,
            head.groups,
            last.bits,
            last.shape[0] if last.shape else 1,
            kinds.count("add"),
            kinds.count("activation"),
            depth,
        ]


def _places(shape: tuple[int, ...]) -> int:
    return math.prod(shape[2:]) if len(shape) > 3 else math.prod(shape[1:-1])


@dataclass(frozen=True)
class Network:
    """Operators in an order in which they can run; dead and constant ones are gone.

    Attributes:
        name: Of the file or of the variant.
        nodes: The operators.
        input_shape: Sizes of the first input, batch included.
        input_bytes: Bytes of all inputs.
    """

    name: str
    nodes: tuple[Node, ...]
    input_shape: tuple[int, ...]
    input_bytes: int = 0

    def check(self) -> "Network":
        """Self, or BadValue."""
        if not self.nodes:
            raise BadValue(f"operators of {self.name}", 0, "at least one")
        for place, node in enumerate(self.nodes):
            if any(not -1 <= i < place for i in node.inputs):
                raise BadValue(f"inputs of operator {place} of {self.name}", node.inputs, "earlier operators")
            if not 0 <= node.into <= place or self.nodes[node.into].into != node.into:
                raise BadValue(f"kernel of operator {place} of {self.name}", node.into, "an earlier head")
        return self

    @property
    def macs(self) -> int:
        """Multiply-accumulates for the whole batch."""
        return sum(node.macs for node in self.nodes)

    @property
    def parameters(self) -> int:
        """Stored numbers."""
        return sum(node.parameters for node in self.nodes)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """What a runtime that fuses the known patterns launches, in order."""
        members: dict[int, list[int]] = {}
        for place, node in enumerate(self.nodes):
            members.setdefault(node.into, []).append(place)
        # A kernel runs where its last part stands: all its inputs exist there.
        order = sorted(members, key=lambda head: members[head][-1])
        where = {head: at for at, head in enumerate(order)}
        found = []
        for head in order:
            parts = members[head]
            outside: dict[int, int] = {}
            weights = 0
            for place in parts:
                node = self.nodes[place]
                weights += node.bytes_read - sum(self._bytes_of(i) for i in node.inputs)
                outside |= {i: self._bytes_of(i) for i in node.inputs if i not in parts}
            inputs = tuple(-1 if i < 0 else where[self.nodes[i].into] for i in outside)
            first, *rest = (self.nodes[place] for place in parts)
            written = self.nodes[parts[-1]].bytes_written
            found.append(Kernel(first, tuple(rest), inputs, max(0, weights) + sum(outside.values()), written))
        return tuple(found)

    def _bytes_of(self, place: int) -> int:
        return self.input_bytes if place < 0 else self.nodes[place].bytes_written

    @cached_property
    def peak_bytes(self) -> int:
        """Most bytes of activations alive at once, if the kernels run in their order; weights not included."""
        last = dict.fromkeys(range(-1, len(self.kernels)), -1)
        for place, kernel in enumerate(self.kernels):
            last |= dict.fromkeys(kernel.inputs, place)
        alive, most = self.input_bytes, self.input_bytes
        for place, kernel in enumerate(self.kernels):
            alive += kernel.bytes_written
            most = max(most, alive)
            # The caller holds the network's own input; what nobody reads is the network's output.
            alive -= sum(
                self.kernels[i].bytes_written for i in set(kernel.inputs) if i >= 0 and last[i] == place
            )
        return most

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of stored numbers, as the operators read them."""
        return sum(n.bytes_read - sum(self._bytes_of(i) for i in n.inputs) for n in self.nodes)

    @cached_property
    def kernel_rows(self) -> NDArray[np.float64]:
        """`(kernels, len(KERNEL_COLUMNS))`: each kernel as numbers; "kind" is its place in `KINDS`."""
        depths: list[int] = []
        rows = []
        for kernel in self.kernels:
            depths.append(1 + max((depths[i] for i in kernel.inputs if i >= 0), default=0))
            rows.append(kernel.row(self, depths[-1]))
        return np.array(rows, np.float64)

    @cached_property
    def depth(self) -> int:
        """Kernels on the longest path."""
        depths: list[int] = []
        for kernel in self.kernels:
            depths.append(1 + max((depths[i] for i in kernel.inputs if i >= 0), default=0))
        return max(depths, default=0)

    @cached_property
    def count_values(self) -> NDArray[np.float64]:
        """What `counts` returns; worked out once."""
        kinds = [node.kind for node in self.nodes]
        written = [math.prod(node.shape) for node in self.nodes]
        sums = (
            self.macs,
            self.parameters,
            sum(written),
            sum(k.bytes_read + k.bytes_written for k in self.kernels),
            max(written),
            self.peak_bytes,
        )
        by_kind = dict.fromkeys(KINDS, 0)
        for node, kind in zip(self.nodes, kinds, strict=True):
            by_kind[kind] += node.macs
        values = [
            *(kinds.count(kind) for kind in KINDS),
            len(self.nodes),
            len(self.kernels),
            self.depth,
            *(math.log1p(value) for value in sums),
            *(math.log1p(by_kind[kind]) for kind in KINDS[:6]),
        ]
        return np.array(values, np.float64)


def counts(network: Network) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """What every predictor may know of a network: operators by kind, depth, and logs of its sums.

    Returns:
        `COUNT_NAMES` and as many numbers. `count_x`: operators of a kind; `depth`: kernels on the longest path;
        `log_x`: natural log of 1 + a sum (MACs, stored numbers, numbers written, bytes moved, the largest
        output, peak bytes), for the whole batch.
    """
    return COUNT_NAMES, network.count_values


def count_matrix(networks: Sequence[Network]) -> NDArray[np.float64]:
    """`(n, len(COUNT_NAMES))`: `counts` of each network."""
    return np.stack([counts(network)[1] for network in networks])
