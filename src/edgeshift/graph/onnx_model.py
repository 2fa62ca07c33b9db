# SPDX-License-Identifier: Apache-2.0
"""An ONNX file read, put into one plain form, and run once, so that every size is a number. No torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
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
from onnx.inliner import inline_local_functions
from onnxruntime.capi import onnxruntime_pybind11_state as state

from edgeshift.core.errors import BadValue, Untraceable
from edgeshift.core.seeds import seed_for
from edgeshift.graph.channels import Array

OLDEST_OPSET = 11
# ONNX Runtime has one class per status code and no common one; a name it cannot feed is a ValueError.
RUNTIME_ERRORS = (
    state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
    state.NotImplemented, state.RuntimeException, ValueError,
)  # fmt: skip
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# Tried in order for axes other than the first whose size the file leaves open.
OPEN_SIZES = (16, 32, 64, 128, 224, 256, 384, 512)
# An open first axis is a batch; two samples, so that nothing looks constant that differs between samples.
OPEN_BATCH = 2
# Element types whose numbers a DequantizeLinear makes floats of, one by one.
QUANTISED = (
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32,
)  # fmt: skip
# Numbers made of sizes alone that are larger than this are not looked into.
LITERAL_LIMIT = 1 << 22
# Only moved, never changed: a parameter may be replaced by what these make of it.
MOVES = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
# Inputs that say where or how large, by operator: their numbers are no parameters.
STRUCTURE: Mapping[str, tuple[int, ...]] = {
    "Clip": (1, 2), "ConstantOfShape": (0,), "CumSum": (1,), "Dropout": (1, 2), "Expand": (1,),
    "OneHot": (1, 2), "Pad": (1, 2, 3), "Range": (0, 1, 2), "ReduceL1": (1,), "ReduceL2": (1,),
    "ReduceLogSum": (1,), "ReduceLogSumExp": (1,), "ReduceMax": (1,), "ReduceMean": (1,), "ReduceMin": (1,),
    "ReduceProd": (1,), "ReduceSum": (1,), "ReduceSumSquare": (1,), "Reshape": (1,), "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,), "TopK": (1,), "Trilu": (1,),
    "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip


def read(source: Path | bytes | ModelProto) -> ModelProto:
    """The model in a file or in bytes, with its local functions written out; a model is copied.

    Raises:
        BadValue: If it is no ONNX model, keeps tensors in other files, or is older than opset 11.
    """
    model = ModelProto()
    if isinstance(source, ModelProto):
        model.CopyFrom(source)
    else:
        if isinstance(source, Path) and not source.is_file():
            raise BadValue("ONNX file", str(source), "a file that exists")
        data = source.read_bytes() if isinstance(source, Path) else source
        name = str(source) if isinstance(source, Path) else "bytes"
        try:
            model.ParseFromString(data)
        except Exception as error:  # protobuf has its own error class for each of its implementations
            raise BadValue("ONNX file", name, "an ONNX model") from error
        if not model.graph.node:
            raise BadValue("ONNX file", name, "a model with at least one operator")
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise BadValue("data of every tensor", f"other file for {tensor.name}", "inside the ONNX file")
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        raise BadValue(
            "opset", opset, f"{OLDEST_OPSET} or later; convert the file with onnx.version_converter"
        )
    return inline_local_functions(model) if model.functions else model


def opset_of(model: ModelProto) -> int:
    """Version of the standard operators."""
    return max((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor stored in a graph and in the graphs inside its operators."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in graphs_of(attribute):
                yield from _tensors(inner)


def graphs_of(attribute: AttributeProto) -> list[GraphProto]:
    """Graphs inside one attribute."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def captured(node: NodeProto) -> set[str]:
    """Names that graphs inside an operator take from outside."""
    found: set[str] = set()
    for attribute in node.attribute:
        for graph in graphs_of(attribute):
            own = {i.name for i in graph.input} | {t.name for t in graph.initializer}
            for inner in graph.node:
                found |= ({i for i in inner.input if i} | captured(inner)) - own
                own |= set(inner.output)
            found |= {o.name for o in graph.output} - own
    return found


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Attribute name -> Python value; strings are decoded."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def array_of(tensor: TensorProto) -> Array:
    """Numbers of a stored tensor; bfloat16 as float32."""
    array = numpy_helper.to_array(tensor)
    return array.astype(np.float32) if tensor.data_type == TensorProto.BFLOAT16 else array


def tensor_of(array: Array, name: str, kind: int) -> TensorProto:
    """A stored tensor of an ONNX element type."""
    return numpy_helper.from_array(np.ascontiguousarray(array, helper.tensor_dtype_to_np_dtype(kind)), name)


@dataclass
class Settled:
    """A model in one plain form; computes the same as the file it came from.

    Attributes:
        model: Without Constant operators, with every vector used once and no initialiser among the inputs.
        tensors: Initialiser name -> numbers; filled by `settle`.
        copies: Name of a copied vector -> the initialiser it was copied from.
    """

    model: ModelProto
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)


def settle(model: ModelProto) -> Settled:
    """The same function in plain form: no Constant operators, no moved parameters, no shared vectors.

    Nothing is computed with, so it is the same function to the last bit. Initialisers that are also listed as
    inputs, as files before 2019 do, become fixed.

    Args:
        model: As `read` returns it. Not changed.
    """
    fresh = ModelProto()
    fresh.CopyFrom(model)
    settled = Settled(fresh)
    graph = fresh.graph
    fresh.ir_version = max(int(fresh.ir_version), 4)  # before 4, initialisers had to be inputs
    settled.tensors = {t.name: t for t in graph.initializer}
    real = [i for i in graph.input if i.name not in settled.tensors]
    del graph.input[:]
    graph.input.extend(real)
    _lift_constants(settled)
    _fold_moves(settled)
    _unshare(settled)
    stored = list(settled.tensors.values())
    del graph.initializer[:]
    graph.initializer.extend(stored)
    del graph.value_info[:]
    return settled


def _keep_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    kept = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        kept.append(copy)
    del graph.node[:]
    graph.node.extend(kept)


def _lift_constants(settled: Settled) -> None:
    """Constant operators become initialisers."""
    kept = []
    for node in settled.model.graph.node:
        tensor = _constant(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
        else:
            settled.tensors[node.output[0]] = tensor
    _keep_nodes(settled.model.graph, kept)


def _constant(node: NodeProto) -> TensorProto | None:
    """The tensor that a Constant operator holds; None for strings and sparse tensors."""
    name = node.output[0]
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = name
            return tensor
        if attribute.name in ("value_float", "value_floats"):
            return numpy_helper.from_array(np.asarray(value, np.float32), name)
        if attribute.name in ("value_int", "value_ints"):
            return numpy_helper.from_array(np.asarray(value, np.int64), name)
    return None


def uses_of(model: ModelProto) -> dict[str, list[tuple[int, int]]]:
    """Tensor name -> (operator, input) of each use; input -1: inside its graph; operator -1: an output."""
    uses: dict[str, list[tuple[int, int]]] = {}
    for index, node in enumerate(model.graph.node):
        for slot, name in enumerate(node.input):
            uses.setdefault(name, []).append((index, slot))
        for name in captured(node):
            uses.setdefault(name, []).append((index, -1))
    for output in model.graph.output:
        uses.setdefault(output.name, []).append((-1, -1))
    return uses


def _fold_moves(settled: Settled) -> None:
    """Store a parameter as it is used where an operator only moves its entries and nobody else uses it."""
    graph, tensors = settled.model.graph, settled.tensors
    uses = uses_of(settled.model)
    alias: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for slot, name in enumerate(node.input):
            node.input[slot] = alias.get(name, name)
        outs = uses.get(node.output[0], [])
        known = all(i in tensors for i in node.input if i)
        plain = node.op_type in MOVES and node.domain in ("", "ai.onnx") and known
        if not plain or any(slot == -1 for _, slot in outs):
            kept.append(node)
            continue
        name = node.input[0]
        if node.op_type == "Identity":
            alias[node.output[0]] = name
            uses[name] = [*uses[name][1:], *outs]
        elif len(uses[name]) == 1:
            moved = _moved(node, tensors)
            stored = tensor_of(moved, node.output[0], tensors[name].data_type)
            del tensors[name]
            tensors[node.output[0]] = stored
        else:
            kept.append(node)
    _keep_nodes(graph, kept)


def _moved(node: NodeProto, tensors: Mapping[str, TensorProto]) -> Array:
    """What a moving operator makes of a stored tensor."""
    attributes = attributes_of(node)
    array = array_of(tensors[node.input[0]])
    second = array_of(tensors[node.input[1]]) if len(node.input) > 1 and node.input[1] else None
    if node.op_type == "Transpose":
        return array.transpose(attributes.get("perm"))
    if node.op_type == "Flatten":
        axis = int(attributes.get("axis", 1)) % (array.ndim + 1)
        return array.reshape(int(np.prod(array.shape[:axis], dtype=np.int64)), -1)
    if node.op_type == "Reshape":
        assert second is not None
        copies = not attributes.get("allowzero", 0)
        sizes = [array.shape[d] if n == 0 and copies else int(n) for d, n in enumerate(second)]
        return array.reshape(sizes)
    axes = [int(a) for a in (second if second is not None else attributes.get("axes", ()))]
    if node.op_type == "Squeeze":
        return array.squeeze(tuple(axes) if axes else None)
    return np.expand_dims(array, tuple(axes))


def _unshare(settled: Settled) -> None:
    """Copies of vectors that several operators use, so that one of them can shrink alone."""
    taken = set(settled.tensors) | {o for n in settled.model.graph.node for o in n.output}
    for name, places in uses_of(settled.model).items():
        tensor = settled.tensors.get(name)
        if tensor is None or len(places) < 2 or any(slot == -1 for _, slot in places):
            continue
        sizes = [d for d in tensor.dims if d != 1]
        if len(sizes) != 1:  # copies of a matrix could make the file larger
            continue
        for number, (index, slot) in enumerate(places[1:], 1):
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = fresh_name(f"{name}_{number}", taken)
            settled.tensors[copy.name] = copy
            settled.copies[copy.name] = name
            settled.model.graph.node[index].input[slot] = copy.name


def fresh_name(wish: str, taken: set[str]) -> str:
    """`wish`, or the first of its numbered forms nobody has; noted in `taken`."""
    name, number = wish, 0
    while name in taken:
        number += 1
        name = f"{wish}_{number}"
    taken.add(name)
    return name


@dataclass(frozen=True)
class Trial:
    """What one run tells.

    Attributes:
        feeds: Input name -> the array it was run on.
        shapes: Tensor name -> sizes, for every tensor of the main graph.
        kinds: Tensor name -> numpy element kind: "f" float, "i" or "u" whole, "b" bool.
        fixed: Whole numbers, bools and scalars that follow from the file alone.
        shaped: The same that follow from the sizes of tensors.
        steady: Those of `shaped` that stayed the same when all open sizes changed.
        open_axes: Input name -> axes whose size the file leaves open.
    """

    feeds: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    kinds: Mapping[str, str]
    fixed: Mapping[str, Array]
    shaped: Mapping[str, Array]
    steady: frozenset[str]
    open_axes: Mapping[str, tuple[int, ...]]


def session(model: ModelProto, *, plain: bool = False) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one thread of the CPU; `plain` leaves the graph as it is written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def try_out(settled: Settled, example: Mapping[str, Array] | None) -> Trial:
    """Run the model once and note every size.

    Args:
        settled: The model.
        example: Input name -> array; None lets sizes be chosen.

    Raises:
        Untraceable: If ONNX Runtime cannot run it.
        BadValue: If the example does not name the inputs.
    """
    graph = settled.model.graph
    fixed, shaped = _static_names(settled)
    wide = ModelProto()
    wide.CopyFrom(settled.model)
    there = {o.name for o in graph.output}
    extra = dict.fromkeys(o for n in graph.node for o in n.output if o and o not in there)
    wide.graph.output.extend(ValueInfoProto(name=n) for n in extra)
    names = [*(o.name for o in graph.output), *extra]
    try:
        runner = session(wide, plain=True)
    except RUNTIME_ERRORS as error:
        raise Untraceable(f"ONNX Runtime must be able to open the model, got: {first_line(error)}") from error
    feeds, results = _run_somewhere(runner, settled, names, example)
    everything = {**dict(zip(names, results, strict=True)), **feeds}
    shapes = {n: np.shape(a) if isinstance(a, np.ndarray) else () for n, a in everything.items()}
    kinds = {n: a.dtype.kind if isinstance(a, np.ndarray) else "O" for n, a in everything.items()}
    for name, tensor in settled.tensors.items():
        shapes[name] = tuple(tensor.dims)
        kinds[name] = "f" if tensor.data_type in FLOATS else "i"
        if name in fixed:
            everything[name] = array_of(tensor)
    small = {n: a for n, a in everything.items() if isinstance(a, np.ndarray) and a.size <= LITERAL_LIMIT}
    moving = {n: small[n] for n in shaped if n in small}
    axes = {i.name: open_axes(i) for i in graph.input}
    steady = _steady(runner, feeds, axes, moving)
    return Trial(feeds, shapes, kinds, {n: small[n] for n in fixed if n in small}, moving, steady, axes)


def _steady(
    runner: onnxruntime.InferenceSession,
    feeds: Mapping[str, Array],
    axes: Mapping[str, tuple[int, ...]],
    shaped: Mapping[str, Array],
) -> frozenset[str]:
    """Names of numbers made of sizes that do not change with the sizes the file leaves open."""
    if not shaped or not any(axes.values()):
        return frozenset(shaped)
    names = sorted(shaped)
    for only_batch in (False, True):
        other = {}
        for name, array in feeds.items():
            repeats = [
                1 if axis not in axes[name] or (only_batch and axis > 0) else 2 for axis in range(array.ndim)
            ]
            other[name] = np.tile(array, repeats)
        try:
            results = runner.run(names, other)
        except RUNTIME_ERRORS:  # these sizes do not fit the model
            continue
        same = (n for n, a in zip(names, results, strict=True) if np.array_equal(a, shaped[n]))
        return frozenset(same)
    return frozenset()


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def open_axes(info: ValueInfoProto) -> tuple[int, ...]:
    """Axes of an input whose size the file leaves open."""
    dims = info.type.tensor_type.shape.dim
    return tuple(d for d, dim in enumerate(dims) if not dim.HasField("dim_value") or dim.dim_value <= 0)


def _static_names(settled: Settled) -> tuple[set[str], set[str]]:
    """Names of tensors that follow from the file alone, and of those that follow from sizes."""
    parameters = parameter_names(settled)
    fixed = {n for n in settled.tensors if n not in parameters}
    single = {n for n, t in settled.tensors.items() if math.prod(t.dims) == 1}  # nothing of them can be cut
    shaped: set[str] = set()
    for node in settled.model.graph.node:
        if node.op_type in ("Shape", "Size"):
            shaped |= set(node.output)
            continue
        inputs = [i for i in node.input if i][: 1 if node.op_type == "CastLike" else None]
        if not inputs or not is_repeatable(node):
            continue
        if all(i in fixed or i in single for i in inputs):
            fixed |= set(node.output)
        elif all(i in fixed or i in single or i in shaped for i in inputs):
            shaped |= set(node.output)
    return fixed, shaped


def is_repeatable(node: NodeProto) -> bool:
    """Whether a standard operator without graphs inside makes the same of the same inputs each time."""
    chance = "Random" in node.op_type or node.op_type in ("Bernoulli", "Multinomial")
    inner = captured(node) or any(graphs_of(a) for a in node.attribute)
    return onnx.defs.has(node.op_type, node.domain) and not chance and not inner


def parameter_names(settled: Settled) -> set[str]:
    """Initialisers that are numbers of the network: float, at least one axis, used as such."""
    found: set[str] = set()
    for node in settled.model.graph.node:
        where = STRUCTURE.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ()
        found |= {n for slot, n in enumerate(node.input) if slot not in where} | captured(node)
    found |= {o.name for o in settled.model.graph.output}
    found = {n for n in found if n in settled.tensors and _is_parameter(settled.tensors[n])}
    return found | quantised_names(settled)


def quantised_names(settled: Settled) -> set[str]:
    """Stored whole numbers with at least one axis that are used once, to be made floats of by stored scales."""
    tensors, uses = settled.tensors, uses_of(settled.model)
    return {
        node.input[0]
        for node in settled.model.graph.node
        if node.op_type == "DequantizeLinear"
        and all(name in tensors for name in node.input if name)
        and tensors[node.input[0]].data_type in QUANTISED
        and len(tensors[node.input[0]].dims) > 0
        and len(uses[node.input[0]]) == 1
        and not attributes_of(node).get("block_size")
    }


def _is_parameter(tensor: TensorProto) -> bool:
    return tensor.data_type in FLOATS and len(tensor.dims) > 0


def _run_somewhere(
    runner: onnxruntime.InferenceSession,
    settled: Settled,
    names: list[str],
    example: Mapping[str, Array] | None,
) -> tuple[dict[str, Array], list[Any]]:
    """Feeds that the model takes, and what it made of them; open sizes are tried until some fit."""
    inputs = list(settled.model.graph.input)
    if example is not None:
        if set(example) != {i.name for i in inputs}:
            raise BadValue("names of the example", sorted(example), f"{sorted(i.name for i in inputs)}")
        tries = [dict(example)]
    else:
        needs_sizes = any(a > 0 for i in inputs for a in open_axes(i))
        tries = [_feeds(settled, size) for size in (OPEN_SIZES if needs_sizes else OPEN_SIZES[:1])]
    why: BaseException | None = None
    for feeds in tries:
        try:
            return feeds, runner.run(names, feeds)
        except RUNTIME_ERRORS as error:
            why = why or error
    sizes = {n: a.shape for n, a in tries[0].items()}
    assert why is not None  # one of the tries failed
    raise Untraceable(
        f"ONNX Runtime must be able to run the model, got with {sizes}: {first_line(why)}"
    ) from why


def _feeds(settled: Settled, size: int) -> dict[str, Array]:
    """Input name -> random array; an open first axis is the batch, other open axes are `size` long."""
    inputs = list(settled.model.graph.input)
    for info in inputs:
        if not info.type.HasField("tensor_type"):
            raise Untraceable(f"every input must be a tensor, got {info.name}")
    dims = {i.name: list(i.type.tensor_type.shape.dim) for i in inputs}
    named = {d.dim_param: size for each in dims.values() for d in each}
    named |= {each[0].dim_param: OPEN_BATCH for each in dims.values() if each}
    highs, generator = index_limits(settled), np.random.default_rng(seed_for(0, "trial"))
    found = {}
    for info in inputs:
        shape = []
        for axis, dim in enumerate(dims[info.name]):
            known = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else 0
            shape.append(known or (named[dim.dim_param] if dim.dim_param else size if axis else OPEN_BATCH))
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        found[info.name] = draw(tuple(shape), dtype, generator, highs[info.name])
    return found


def draw(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator, high: int) -> Array:
    """A random array: normal floats, whole numbers below `high`, bools."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind in "iu":
        return generator.integers(0, high, shape).astype(dtype)
    if dtype.kind in "OSU":
        raise Untraceable(f"every input must hold numbers, got {dtype}")
    return generator.standard_normal(shape).astype(dtype)


def index_limits(settled: Settled) -> dict[str, int]:
    """Input name -> one more than the largest whole number it may hold: the shortest table it looks up."""
    uses = uses_of(settled.model)
    nodes = settled.model.graph.node
    found = {}
    for info in settled.model.graph.input:
        limit: list[int] = []
        queue, seen = [info.name], set()
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            for index, slot in uses.get(name, []):
                if slot < 0:
                    continue
                node = nodes[index]
                table = settled.tensors.get(node.input[0])
                if node.op_type == "Gather" and slot == 1 and table is not None:
                    axis = int(attributes_of(node).get("axis", 0))
                    limit.append(int(table.dims[axis]))
                elif node.op_type in (*MOVES, "Cast") and slot == 0:
                    queue += node.output
        found[info.name] = min(limit, default=2)
    return found
