# SPDX-License-Identifier: Apache-2.0
"""Weights that an ONNX file quantises itself, stored as the whole numbers that it makes of them. No torch."""

from collections.abc import Sequence

from onnx import ModelProto, NodeProto, ValueInfoProto, numpy_helper

from edgeshift.graph.channels import Array
from edgeshift.graph.onnx_model import (
    QUANTISED,
    RUNTIME_ERRORS,
    captured,
    is_repeatable,
    session,
    uses_of,
)


def stored(model: ModelProto) -> ModelProto:
    """The same function, with what `QuantizeLinear` makes of stored numbers stored instead, and its scales too.

    Files of training with quantisation hold weights as floats and quantise them in every run, by scales and zero
    points that further operators may make. ONNX Runtime makes the whole numbers here as it does there.

    Args:
        model: As `read` returns it. Not changed.

    Returns:
        The model itself where it holds no such weights.
    """
    names, uses = {t.name for t in model.graph.initializer}, uses_of(model)
    fixed = _fixed(model, names)
    weights = {n.output[0] for n in fixed if _is_weight(n, model, uses.get(n.output[0], []))}
    made = {o for n in fixed if n.op_type != "Constant" for o in n.output}
    scales = {
        i
        for n in fixed
        if n.op_type == "DequantizeLinear" and n.input[0] in names | weights
        for i in n.input[1:]
        if i in made
    }
    if not weights | scales:
        return model
    try:
        found = _computed(model, fixed, sorted(weights | scales))
    except RUNTIME_ERRORS:  # then the whole model cannot run either, and the trial says why
        return model
    tensors = {name: numpy_helper.from_array(array, name) for name, array in found.items()}
    tensors = {n: t for n, t in tensors.items() if n in scales or (t.data_type in QUANTISED and len(t.dims))}
    fresh = ModelProto()
    fresh.CopyFrom(model)
    graph = fresh.graph
    nodes = [n for n in model.graph.node if not tensors.keys() & set(n.output)]
    nodes, used = _needed(nodes, {o.name for o in graph.output})
    kept = [t for t in model.graph.initializer if t.name in used]
    inputs = [i for i in model.graph.input if i.name in used or i.name not in names]
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *tensors.values()])
    graph.input.extend(inputs)
    return fresh


def _fixed(model: ModelProto, names: set[str]) -> list[NodeProto]:
    """Operators whose results follow from stored numbers alone, in order."""
    known, found = set(names), []
    for node in model.graph.node:
        inputs = [i for i in node.input if i]
        if is_repeatable(node) and known.issuperset(inputs) and (inputs or node.op_type == "Constant"):
            known |= set(node.output)
            found.append(node)
    return found


def _is_weight(node: NodeProto, model: ModelProto, places: Sequence[tuple[int, int]]) -> bool:
    """Whether an operator quantises numbers that then become floats again, wherever they are read."""
    return node.op_type == "QuantizeLinear" and all(
        index >= 0 and slot == 0 and model.graph.node[index].op_type == "DequantizeLinear"
        for index, slot in places
    )


def _computed(model: ModelProto, fixed: list[NodeProto], wanted: list[str]) -> dict[str, Array]:
    """Tensor name -> what those operators make of the stored numbers."""
    nodes, used = _needed(fixed, set(wanted))
    part = ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    kept = [t for t in model.graph.initializer if t.name in used]
    del graph.node[:], graph.initializer[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    graph.output.extend(ValueInfoProto(name=n) for n in wanted)
    return dict(zip(wanted, session(part, plain=True).run(wanted, {}), strict=True))


def _needed(nodes: list[NodeProto], wanted: set[str]) -> tuple[list[NodeProto], set[str]]:
    """The operators that those tensors need, in order, and every tensor they read."""
    used, found = set(wanted), []
    for node in reversed(nodes):
        if used & set(node.output):
            used |= {i for i in node.input if i} | captured(node)
            found.append(node)
    return found[::-1], used
