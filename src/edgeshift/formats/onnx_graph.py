# SPDX-License-Identifier: Apache-2.0
"""What is done to an exported graph: tidy it once, fill it per variant, fold batch norm into convolutions."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxscript.optimizer
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
# Operators whose third input is an optional bias.
BIASED = ("Conv", "ConvTranspose", "Gemm")
# IR version 10 belongs to opset 21, ORT 1.18; nothing later is used.
IR_VERSION = 10


def tidy(model: onnx_ir.Model, names: frozenset[str]) -> onnx.ModelProto:
    """The exporter's graph without noise: no metadata, no dead or constant nodes, no zero biases, flat names.

    Args:
        model: As torch's exporter leaves it, not optimised; changed.
        names: Tensors of the torch model; nothing is computed from them, so that they can be exchanged.
    """
    graph = model.graph
    # As inputs they are unknown to the folding: it folds constants only.
    held = [graph.initializers.pop(name) for name in list(graph.initializers) if name in names]
    inputs = len(graph.inputs)
    graph.inputs.extend(held)
    onnxscript.optimizer.fold_constants(model)
    onnxscript.optimizer.remove_unused_nodes(model)
    del graph.inputs[inputs:]
    for value in held:
        graph.register_initializer(value)
    proto = onnx_ir.to_proto(model)
    shapes = dimensions(proto)
    constants_(proto)
    flatten_(proto, shapes)
    drop_zero_bias_(proto, names)
    drop_dead_(proto)
    merge_constants_(proto, names)
    plain_(proto)
    return proto


def dimensions(proto: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Value name -> its sizes; None where they are open."""
    values = [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]
    found: dict[str, list[int | None]] = {}
    for value in values:
        if value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            found[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in sizes]
    return found


def constants_(proto: onnx.ModelProto) -> None:
    """Turn constant nodes into initialisers, in place."""
    rest = []
    for node in proto.graph.node:
        value = {a.name: a for a in node.attribute}.get("value") if node.op_type == "Constant" else None
        if value is None and node.op_type == "Constant":
            array = helper.get_attribute_value(node.attribute[0])
            kind = np.int64 if node.attribute[0].name in ("value_int", "value_ints") else np.float32
            proto.graph.initializer.append(numpy_helper.from_array(np.array(array, kind), node.output[0]))
        elif value is not None:
            tensor = proto.graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        else:
            rest.append(node)
    replace_nodes_(proto, rest)


def replace_nodes_(proto: onnx.ModelProto, nodes: list[NodeProto]) -> None:
    """Give a graph other nodes, in place."""
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def arrays(proto: onnx.ModelProto) -> dict[str, Array]:
    """Initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def flatten_(proto: onnx.ModelProto, shapes: Mapping[str, list[int | None]]) -> None:
    """Write `Reshape(x, [batch, c*h*w])` as Flatten, in place: it holds for any width.

    Only where the sizes after the batch axis are known and their product is the one asked for.
    """
    constants = arrays(proto)
    made = {output: node for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type != "Reshape":
            continue
        wanted = second_size(node.input[1], constants, made)
        sizes = shapes.get(node.input[0])
        if wanted is None or not sizes or len(sizes) < 2 or None in sizes[1:]:
            continue
        product = int(np.prod([size for size in sizes[1:] if size is not None]))
        if wanted in (product, -1):
            node.CopyFrom(helper.make_node("Flatten", [node.input[0]], list(node.output), axis=1))


def second_size(name: str, constants: Mapping[str, Array], made: Mapping[str, NodeProto]) -> int | None:
    """The second of two target sizes of a Reshape, if the first is the batch size."""
    target = constants.get(name)
    if target is not None:
        return int(target[1]) if target.shape == (2,) and target[0] in (-1, 0) else None
    join = made.get(name)
    if join is None or join.op_type != "Concat" or len(join.input) != 2:
        return None
    last = constants.get(join.input[1])
    batch = join.input[0]
    # The batch size reaches the Concat as Shape(input, 0, 1), through reshapes that only change its rank.
    while batch in made and made[batch].op_type in ("Reshape", "Squeeze", "Unsqueeze", "Identity"):
        batch = made[batch].input[0]
    ends = (
        {a.name: a.i for a in made[batch].attribute}
        if batch in made and made[batch].op_type == "Shape"
        else {}
    )
    is_batch = ends.get("start", 0) == 0 and ends.get("end") == 1
    return int(last[0]) if is_batch and last is not None and last.shape == (1,) else None


def drop_zero_bias_(proto: onnx.ModelProto, names: frozenset[str]) -> None:
    """Leave out biases that are constant zeros, in place; the exporter writes them where there is none."""
    constants = arrays(proto)
    for node in proto.graph.node:
        if node.op_type in BIASED and len(node.input) == 3:
            bias = node.input[2]
            if bias not in names and bias in constants and not constants[bias].any():
                del node.input[2]


def drop_dead_(proto: onnx.ModelProto) -> None:
    """Remove nodes and initialisers that no output needs, in place."""
    needed = {output.name for output in proto.graph.output}
    kept = []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    replace_nodes_(proto, kept[::-1])
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in needed}
    # In the order of their first use: the exporter's own order may change with its version.
    order = dict.fromkeys(name for node in proto.graph.node for name in node.input if name in tensors)
    kept_tensors = [TensorProto.FromString(tensors[name].SerializeToString()) for name in order]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept_tensors)


def merge_constants_(proto: onnx.ModelProto, names: frozenset[str]) -> None:
    """Keep one of equal constants, and no value of a tensor that is filled in later, in place."""
    first: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            kept.append(TensorProto(name=tensor.name))
            continue
        array = numpy_helper.to_array(tensor)
        key = f"{array.dtype}{array.shape}".encode() + array.tobytes()
        if key not in first:
            first[key] = f"constant/{len(first)}"
            kept.append(numpy_helper.from_array(array, first[key]))
        renamed[tensor.name] = first[key]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def plain_(proto: onnx.ModelProto) -> None:
    """Remove whatever tells where, when and by whom, and every shape that a variant may change, in place."""
    graph = proto.graph
    held = {tensor.name for tensor in graph.initializer} | {v.name for v in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    for node in graph.node:
        for output in node.output:
            if output and output not in held:
                renamed[output] = f"value/{len(renamed)}"
    for place, node in enumerate(graph.node):
        node.name = f"{node.op_type}/{place}"
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for field in ("value_info", "metadata_props", "doc_string", "quantization_annotation"):
        graph.ClearField(field)
    for field in ("metadata_props", "doc_string", "domain", "model_version", "producer_version"):
        proto.ClearField(field)
    graph.name = "edgeshift"
    proto.producer_name = "edgeshift"
    proto.ir_version = IR_VERSION
    used = {node.domain for node in graph.node}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    imports = [onnx.OperatorSetIdProto.FromString(entry.SerializeToString()) for entry in kept]
    del proto.opset_import[:]
    proto.opset_import.extend(imports)


def fill_(
    proto: onnx.ModelProto, tensors: Mapping[str, Array], known: frozenset[str], groups: Mapping[str, int]
) -> str:
    """Put a model's tensors in place of the graph's own, in place.

    Args:
        proto: Tidied graph of a larger model of the same class.
        tensors: Parameter or buffer name -> value.
        known: Names that the larger model has; those that its graph does not read are not needed.
        groups: Name of a weight -> `groups` of its convolution.

    Returns:
        Empty, or why they do not fit; the graph is of no use then.
    """
    read = {tensor.name for tensor in proto.graph.initializer}
    gone = sorted(name for name in read & known if name not in tensors)
    if gone:
        return f"tensor {gone[0]}, which the graph reads, is gone"
    fresh = sorted(name for name in tensors if name not in known)
    for node in proto.graph.node:
        weight = node.input[1] if len(node.input) > 1 else ""
        if node.op_type == "Conv" and weight in groups:
            for attribute in node.attribute:
                if attribute.name == "group":
                    attribute.i = groups[weight]
        bias = weight.removesuffix("weight") + "bias"
        if bias in fresh and weight.endswith("weight") and node.op_type in BIASED and len(node.input) == 2:
            node.input.append(bias)
            proto.graph.initializer.add().name = bias
            fresh.remove(bias)
    if fresh:
        return f"tensor {fresh[0]} has no place in the graph"
    for tensor in proto.graph.initializer:
        if tensor.name in tensors:
            tensor.CopyFrom(numpy_helper.from_array(tensors[tensor.name], tensor.name))
    return ""


def fold_batch_norm_(proto: onnx.ModelProto) -> None:
    """Fold each batch norm into the convolution before it, in float64, in place.

    Only where the convolution has no other reader and its weight no other use.
    """
    constants = arrays(proto)
    uses = Counter(name for node in proto.graph.node for name in node.input)
    uses.update(output.name for output in proto.graph.output)
    made = {output: node for node in proto.graph.node for output in node.output}
    folded: dict[str, Array] = {}
    rest = []
    for node in proto.graph.node:
        conv = (
            made.get(node.input[0])
            if node.op_type == "BatchNormalization" and len(node.output) == 1
            else None
        )
        alone = conv is not None and conv.op_type == "Conv" and uses[node.input[0]] == 1
        own = [*conv.input[1:], node.input[2]] if conv is not None and alone else []
        if (
            conv is None
            or not own
            or any(uses[n] > 1 for n in own)
            or not {*own, *node.input[1:]} <= set(constants)
        ):
            rest.append(node)
            continue
        scale, shift, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:])
        epsilon = {a.name: a.f for a in node.attribute}.get("epsilon", 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        weight = constants[conv.input[1]].astype(np.float64)
        bias = constants[conv.input[2]].astype(np.float64) if len(conv.input) == 3 else np.zeros(len(factor))
        name = conv.input[2] if len(conv.input) == 3 else node.input[2]
        folded[conv.input[1]] = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
        folded[name] = ((bias - mean) * factor + shift).astype(np.float32)
        if len(conv.input) == 2:
            conv.input.append(name)
        conv.output[0] = node.output[0]
    replace_nodes_(proto, rest)
    for tensor in proto.graph.initializer:
        if tensor.name in folded:
            tensor.CopyFrom(numpy_helper.from_array(folded[tensor.name], tensor.name))
    drop_dead_(proto)
