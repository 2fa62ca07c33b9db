# SPDX-License-Identifier: Apache-2.0
"""Branches of a graph that give the same numbers whatever comes in."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from edgeshift.formats.onnx_graph import arrays, dimensions, drop_dead_

Channels = NDArray[np.float32]
# Operators that make zeros of zeros, channel by channel.
ZERO_STAYS = frozenset(
    ("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "HardSwish", "Mish", "Tanh", "Identity")
) | frozenset(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"))


def silence_(proto: onnx.ModelProto) -> None:
    """Put a constant in place of every branch that adds the same number at each pixel of a channel, in place.

    When a block of a residual network has lost all its inner channels, one of zeros stays, since a convolution needs
    one; two convolutions then compute the bias of the second. The sum that they go into gets that bias itself, or is
    left out where it is zero. The function stays the same; a runtime that adds in another order may round otherwise.
    """
    silent = silent_values(proto, arrays(proto))
    sums = [n for n in proto.graph.node if n.op_type == "Add" and any(name in silent for name in n.input)]
    if not sums:
        return
    shapes = dimensions(shape_inference.infer_shapes(proto))
    outputs = {value.name for value in proto.graph.output}
    renamed: dict[str, str] = {}
    for node in sums:
        first, second = node.input
        place = int(second in silent)
        branch, other = (second, first) if place else (first, second)
        if other in silent or branch not in shapes or shapes[branch] != shapes.get(other):
            continue
        if not silent[branch].any() and node.output[0] not in outputs:
            renamed[node.output[0]] = other
            continue
        shape = (1, -1, *[1] * (len(shapes[branch]) - 2))
        name = f"{branch}/silent"
        if all(tensor.name != name for tensor in proto.graph.initializer):
            proto.graph.initializer.append(numpy_helper.from_array(silent[branch].reshape(shape), name))
        node.input[place] = name
    for node in proto.graph.node:
        node.input[:] = [final(name, renamed) for name in node.input]
    drop_dead_(proto)


def final(name: str, renamed: Mapping[str, str]) -> str:
    """What a value is called after all renaming."""
    while name in renamed:
        name = renamed[name]
    return name


def silent_values(
    proto: onnx.ModelProto, constants: Mapping[str, NDArray[np.generic]]
) -> dict[str, Channels]:
    """Value -> `(channels,)`, float32: what it is at every pixel of every input.

    Args:
        proto: Its nodes in the order of computation.
        constants: Initialisers.
    """
    found: dict[str, Channels] = {}
    for node in proto.graph.node:
        given = found.get(node.input[0]) if node.input else None
        dead = given is not None and not given.any()
        if node.op_type == "Conv" and {*node.input[1:]} <= constants.keys():
            weight = constants[node.input[1]]
            if weight.dtype == np.float32 and (dead or not weight.any()):
                bias = constants[node.input[2]] if len(node.input) == 3 else np.zeros(len(weight))
                found[node.output[0]] = bias.astype(np.float32)
        elif given is not None and node.op_type == "Relu":
            found[node.output[0]] = np.maximum(given, np.float32(0))
        elif given is not None and dead and node.op_type in ZERO_STAYS:
            found[node.output[0]] = given
    return found
