# SPDX-License-Identifier: Apache-2.0
"""Run an ONNX model and its cut copy in float64 and in ONNX Runtime; they must agree. No torch."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)
from onnx.reference import ReferenceEvaluator

from edgeshift.core.errors import NotExact, Untraceable
from edgeshift.core.seeds import seed_for
from edgeshift.core.values import Proof
from edgeshift.graph.analyse import Verdict
from edgeshift.graph.channels import Array
from edgeshift.graph.fronts.onnx import OnnxTrace
from edgeshift.graph.onnx_model import (
    FLOATS,
    MOVES,
    Settled,
    array_of,
    draw,
    graphs_of,
    index_limits,
    session,
)
from edgeshift.graph.onnx_reference import evaluator

KINDS = ("random", "border", "other batch", "zeros", "large")
# What float32 rounding may do to the order of sums in a deep network, relative to the largest output.
FLOAT32_TOLERANCE = 1e-5
# The same where numbers are quantised on the way: a sum next to a jump may land on its other side, a step away.
QUANTISED_TOLERANCE = 0.05
# Inputs whose element type the standard fixes, by operator.
ALWAYS_FLOAT32: Mapping[str, tuple[int, ...]] = {"Resize": (1, 2), "Upsample": (1,)}


@dataclass(frozen=True)
class Pair:
    """Two models that must be the same function."""

    original: ModelProto
    small: ModelProto


def prove_onnx(
    own: Pair, wide: Pair, trace: OnnxTrace, verdict: Verdict, tolerance: float, seconds: float
) -> Proof:
    """Show that the small model computes what the model does.

    Args:
        own: Both models in their own element type, run by ONNX Runtime.
        wide: Both in float64 (the same cut, made on a float64 copy), run by ONNX's reference evaluator.
        trace: The analysed model.
        verdict: What was cut.
        tolerance: On the largest difference over the largest output, in float64.
        seconds: No further kind of input is begun after this time; the proof lists the kinds that were.

    Raises:
        NotExact: Naming the first tensor that differs.
        Untraceable: If the reference evaluator lacks an operator.
    """
    try:
        evaluators = evaluator(wide.original), evaluator(wide.small)
    except (NotImplementedError, RuntimeError) as error:  # the second where an opset is too old for it
        raise unknown(error) from error
    quantised = any(n.op_type == "QuantizeLinear" for n in own.original.graph.node)
    # As written: where its integer kernels saturate sums of pairs, the order of channels decides.
    runners = session(own.original, plain=quantised), session(own.small, plain=quantised)
    begun, worst, worst_own = time.monotonic(), 0.0, 0.0
    kinds: list[str] = []
    for kind, feeds in trials(trace):
        if kinds and time.monotonic() - begun > seconds:
            break
        doubled = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in feeds.items()}
        with np.errstate(all="ignore"):
            try:
                a, b = (list(e.run(None, doubled)) for e in evaluators)
            except NotImplementedError as error:
                raise unknown(error) from error
        off = relative(a, b)
        if not off <= tolerance:
            where = first_difference(evaluators, trace, verdict, doubled, tolerance)
            raise NotExact(
                f"the shrunk model must agree within {tolerance:g} in float64, got {off:.3g} on"
                f" {kind} input; first difference in tensor {where}"
            )
        worst = max(worst, off)
        if kind != "large":  # float32 sums of large numbers round by more than the tolerance in any order
            a, b = (r.run(None, dict(feeds)) for r in runners)
            mine = relative(a, b)
            allowed = quantised_tolerance(trace.settled, a) if quantised else own_tolerance(a)
            if not mine <= allowed:
                raise NotExact(
                    f"the shrunk model must agree within {allowed:g}, got {mine:.3g} on {kind} input"
                )
            worst_own = max(worst_own, mine)
        kinds.append(kind)
    return Proof(worst, worst_own, len(kinds), tuple(kinds), tolerance).check()


def unknown(error: Exception) -> Untraceable:
    """What to say of an operator that the reference evaluator lacks."""
    return Untraceable(f"every operator must be known to ONNX's reference, got: {error}")


def own_tolerance(outputs: list[Array]) -> float:
    """What rounding may do in the coarsest float type among the outputs."""
    steps = [float(np.finfo(a.dtype).eps) for a in outputs if a.dtype.kind == "f"]
    return FLOAT32_TOLERANCE * max(1.0, max(steps, default=0.0) / float(np.finfo(np.float32).eps))


def quantised_tolerance(settled: Settled, outputs: list[Array]) -> float:
    """What a sum next to a jump may do within; where an output is itself quantised, a step of it more."""
    makers = {o: n for n in settled.model.graph.node for o in n.output}
    step = 0.0
    for info, array in zip(settled.model.graph.output, outputs, strict=True):
        node = makers.get(info.name)
        while node is not None and node.op_type in MOVES:
            node = makers.get(node.input[0])
        if node is not None and node.op_type == "DequantizeLinear" and node.input[1] in settled.tensors:
            scale, top = np.abs(array_of(settled.tensors[node.input[1]])).max(), np.abs(array).max(initial=0)
            step = max(step, float(scale / top) if top > 0 else 0.0)
    return QUANTISED_TOLERANCE + step


def trials(trace: OnnxTrace) -> Iterator[tuple[str, dict[str, Array]]]:
    """Inputs of the sizes of the trial: random, only borders, another batch if it is open, zeros, large."""
    generator = np.random.default_rng(seed_for(0, "proof"))
    limits, example = index_limits(trace.settled), trace.trial.feeds
    for kind in KINDS:
        if kind == "other batch" and not any(0 in axes for axes in trace.trial.open_axes.values()):
            continue
        feeds = {}
        for name, like in example.items():
            high = (
                limits[name] if 0 in trace.trial.open_axes[name] or like.size == 0 else max(limits[name], 1)
            )
            shape = like.shape
            if kind == "other batch" and 0 in trace.trial.open_axes[name]:
                shape = (shape[0] + 1, *shape[1:])
            drawn = draw(shape, like.dtype, generator, high)
            feeds[name] = _of_kind(drawn, kind)
        yield kind, feeds


def _of_kind(drawn: Array, kind: str) -> Array:
    if kind == "zeros":
        return np.zeros_like(drawn)
    if drawn.dtype.kind != "f":
        return drawn
    if kind == "large":
        return np.asarray(drawn * drawn.dtype.type(1e4))
    if kind == "border" and drawn.ndim > 2:
        drawn[(slice(None), slice(None), *(slice(1, -1) for _ in range(drawn.ndim - 2)))] = 0
    return drawn


def relative(outputs: list[Array], others: list[Array]) -> float:
    """Largest |a - b| over largest |a|, the worst over all outputs; equal NaN and infinities are equal."""
    return max(
        (_relative(np.asarray(a), np.asarray(b)) for a, b in zip(outputs, others, strict=True)), default=0.0
    )


def _relative(a: Array, b: Array) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind != "f":
        return float((a != b).any())
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    finite = np.isfinite(a) & np.isfinite(b)
    if not (finite | same).all():
        return float("inf")
    top = float(np.abs(a[finite]).max())
    return float(np.abs((a - b)[finite]).max()) / (top if top > 0 else 1.0)


def first_difference(
    evaluators: tuple[ReferenceEvaluator, ReferenceEvaluator],
    trace: OnnxTrace,
    verdict: Verdict,
    feeds: dict[str, Array],
    tolerance: float,
) -> str:
    """Name of the first tensor whose kept channels differ between the two models."""
    with np.errstate(all="ignore"):
        full, part = (e.run(None, feeds, intermediate=True) for e in evaluators)
    made = [o for n in trace.settled.model.graph.node for o in n.output]
    for name in made:
        number = trace.number.get(name)
        if number is None or name not in full or name not in part or not isinstance(full[name], np.ndarray):
            continue
        array = full[name]
        for axis in range(array.ndim):
            stays = verdict.kept(number, axis)
            if len(stays) == array.shape[axis] and not stays.all():
                array = np.take(array, np.flatnonzero(stays), axis)
        if not _relative(array, part[name]) <= tolerance:
            return str(name)
    return "of the outputs"


def widen(model: ModelProto) -> ModelProto:
    """A copy with every float as float64."""
    wide = ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph, set())
    return wide


def _widen_graph(graph: GraphProto, outer: set[str]) -> None:
    stays = outer | {
        node.input[slot]
        for node in graph.node
        for slot in ALWAYS_FLOAT32.get(node.op_type, ())
        if slot < len(node.input)
    }
    for tensor in graph.initializer:
        if tensor.name not in stays:
            _widen_tensor(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in stays:
            continue
        _widen_node(node, stays)
    infos: list[ValueInfoProto] = [*graph.input, *graph.output]
    del graph.value_info[:]
    for info in infos:
        if info.type.tensor_type.elem_type in FLOATS:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE


def _widen_node(node: NodeProto, stays: set[str]) -> None:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            _widen_tensor(attribute.t)
        for graph in graphs_of(attribute):
            _widen_graph(graph, stays)
        if attribute.name in ("to", "dtype") and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
    if node.op_type == "Constant" and node.attribute[0].name in ("value_float", "value_floats"):
        value = np.asarray(helper.get_attribute_value(node.attribute[0]), np.float64)
        del node.attribute[:]
        made: AttributeProto = helper.make_attribute("value", numpy_helper.from_array(value))
        node.attribute.append(made)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS and tensor.data_type != TensorProto.DOUBLE:
        tensor.CopyFrom(numpy_helper.from_array(array_of(tensor).astype(np.float64), tensor.name))
