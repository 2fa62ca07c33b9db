# SPDX-License-Identifier: Apache-2.0
"""Sizes and positions that an ONNX file spells out, and what they must be after a cut. No torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from edgeshift.graph.analyse import Verdict
from edgeshift.graph.channels import Array
from edgeshift.graph.fronts.onnx import STANDARD, OnnxTrace
from edgeshift.graph.onnx_model import array_of, attributes_of, captured, opset_of, session

# Inputs that surgery can rewrite; any other number made of sizes must come out as it was.
REWRITTEN: Mapping[str, tuple[int, ...]] = {
    "Expand": (1,), "Gather": (1,), "Reshape": (1,), "Resize": (3,), "Slice": (1, 2, 3, 4), "Split": (1,),
}  # fmt: skip


@dataclass(frozen=True)
class Literal:
    """One input of an operator that must hold other numbers.

    Attributes:
        node: Position of the operator.
        slot: Which input.
        numbers: What it must hold at the sizes of the trial.
        now: What it would hold without a change; None where the operator has no such input.
        scales: Entries may be products with sizes the file leaves open: a computed one is multiplied.
    """

    node: int
    slot: int
    numbers: Array
    now: Array | None
    scales: bool


@dataclass(frozen=True)
class Spelled:
    """What to rewrite.

    Attributes:
        literals: Every input that must change.
        misfits: Values whose sizes must not change after all, since the file depends on them in another way.
    """

    literals: tuple[Literal, ...]
    misfits: frozenset[int]


def spell(trace: OnnxTrace, verdict: Verdict) -> Spelled:
    """What the file's sizes and positions must be under a verdict."""
    now = {**trace.trial.fixed, **_sizes_after(trace, verdict)}
    misfits = set(_loose(trace, verdict, now))
    literals: list[Literal] = []
    for index, node in enumerate(trace.settled.model.graph.node):
        if node.domain not in STANDARD or node.op_type not in REWRITTEN or node.output[0] not in trace.number:
            continue
        values = [_number(trace, now, name) for name in node.input]
        if node.op_type in ("Slice", "Split", "Gather"):
            found = _positions(trace, verdict, index, node, values)
        else:
            found = _shape(trace, verdict, index, node, values)
        if found is None:
            numbers = [trace.number[n] for n in (node.input[0], *node.output) if n in trace.number]
            misfits |= {n for n in numbers if verdict.size(n) != trace.graph.shape(n)}
        else:
            literals += found
    return Spelled(tuple(literals), frozenset(misfits))


def _number(trace: OnnxTrace, now: Mapping[str, Array], name: str) -> Array | None:
    """Numbers of an input, where they are known: stored ones, or made of sizes."""
    stored = trace.settled.tensors.get(name)
    if stored is None:
        return now.get(name)
    return array_of(stored) if stored.data_type in (TensorProto.INT64, TensorProto.INT32) else None


def _sizes_after(trace: OnnxTrace, verdict: Verdict) -> dict[str, Array]:
    """What every number made of sizes is after the cut."""
    settled, trial = trace.settled, trace.trial
    if not trial.shaped:
        return {}
    part = ModelProto()
    part.CopyFrom(settled.model)
    nodes = []
    stored = dict(settled.tensors)
    for node in settled.model.graph.node:
        if not all(o in trial.shaped for o in node.output if o):
            continue
        if node.op_type not in ("Shape", "Size"):
            nodes.append(node)
            continue
        sizes = _size_after(trace, verdict, node.input[0])
        options = attributes_of(node)
        picked = np.asarray(sizes[options.get("start", 0) : options.get("end", len(sizes))], np.int64)
        result = np.asarray(math.prod(sizes), np.int64) if node.op_type == "Size" else picked
        stored[node.output[0]] = numpy_helper.from_array(result, node.output[0])
    made = [o for n in nodes for o in n.output if o]
    used = {i for n in nodes for i in n.input}
    del part.graph.input[:], part.graph.output[:], part.graph.initializer[:], part.graph.node[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(ValueInfoProto(name=n) for n in made)
    inner = {n: t for n, t in stored.items() if n in used}
    inner |= {
        n: numpy_helper.from_array(a, n) for n, a in trial.fixed.items() if n in used and n not in stored
    }
    part.graph.initializer.extend(inner.values())
    results = session(part, plain=True).run(made, {}) if made else []
    found = dict(zip(made, results, strict=True))
    return found | {n: array_of(t) for n, t in stored.items() if n in trial.shaped}


def _size_after(trace: OnnxTrace, verdict: Verdict, name: str) -> tuple[int, ...]:
    number = trace.number.get(name)
    return tuple(trace.trial.shapes[name]) if number is None else verdict.size(number)


def _loose(trace: OnnxTrace, verdict: Verdict, now: Mapping[str, Array]) -> Iterator[int]:
    """Values whose size goes, changed, into a number that nothing can rewrite."""
    trial = trace.trial
    uses: list[str] = [o.name for o in trace.settled.model.graph.output]
    for node in trace.settled.model.graph.node:
        if all(o in trial.shaped or o in trial.fixed for o in node.output if o):
            continue
        slots = REWRITTEN.get(node.op_type, ()) if node.domain in STANDARD else ()
        uses += [n for slot, n in enumerate(node.input) if slot not in slots]
        uses += sorted(captured(node))
    for name in dict.fromkeys(uses):
        if name in trial.shaped and not np.array_equal(
            now[name], trial.shaped[name], equal_nan=now[name].dtype.kind == "f"
        ):
            yield from _sources(trace, verdict, name)


def _sources(trace: OnnxTrace, verdict: Verdict, name: str) -> Iterator[int]:
    """Values that changed in size and whose size goes into a number."""
    makers = {o: n for n in trace.settled.model.graph.node for o in n.output}
    queue, seen = [name], set()
    while queue:
        at = queue.pop()
        if at in seen or at not in makers:
            continue
        seen.add(at)
        node = makers[at]
        if node.op_type not in ("Shape", "Size"):
            queue += node.input
            continue
        number = trace.number.get(node.input[0])
        if number is not None and verdict.size(number) != trace.graph.shape(number):
            yield number


def _shape(
    trace: OnnxTrace, verdict: Verdict, index: int, node: NodeProto, values: Sequence[Array | None]
) -> list[Literal] | None:
    """Rewrites of a target shape; None where none can be found."""
    slot = REWRITTEN[node.op_type][0]
    target = values[slot] if slot < len(values) else None
    x, out = trace.number.get(node.input[0]), trace.number[node.output[0]]
    before = trace.trial.shapes[node.input[0]] if x is None else verdict.size(x)
    wanted = verdict.size(out)
    if target is None:  # a Resize by scales, or a shape that is only known in the run
        return [] if wanted == trace.graph.shape(out) or node.op_type == "Resize" else None
    options = attributes_of(node)
    if _resolve(node.op_type, before, target, options) == wanted:
        return []
    axes = range(len(wanted) - len(target), len(wanted))
    if "axes" in options:  # a Resize of some axes
        axes = [int(a) % len(wanted) for a in options["axes"]]  # type: ignore[assignment]  # both are iterable ints
    fresh, old = target.copy(), trace.graph.shape(out)
    first = trace.trial.shaped.get(node.input[slot], target)
    for k, axis in enumerate(axes):
        if wanted[axis] == old[axis]:
            fresh[k] = first[k]
        elif target[k] > 0 or (target[k] == 0 and (axis >= len(before) or before[axis] != wanted[axis])):
            fresh[k] = wanted[axis]
    if _resolve(node.op_type, before, fresh, options) != wanted:
        return None
    return [Literal(index, slot, fresh, target, scales=True)]


def _resolve(
    op: str, before: tuple[int, ...], target: Array, options: Mapping[str, object]
) -> tuple[int, ...] | None:
    """The shape an operator makes of a target shape; None if it cannot."""
    sizes = [int(n) for n in target]
    if op == "Expand":
        try:
            return tuple(np.broadcast_shapes(before, tuple(sizes)))
        except ValueError:
            return None
    if op == "Resize":
        axes = options.get("axes", range(len(before)))
        assert isinstance(axes, Sequence | range)
        full = list(before)
        for axis, size in zip(axes, sizes, strict=True):
            full[axis] = size
        return tuple(full)
    if not options.get("allowzero", 0):
        if any(n == 0 and d >= len(before) for d, n in enumerate(sizes)):
            return None
        sizes = [before[d] if n == 0 else n for d, n in enumerate(sizes)]
    if -1 in sizes:
        rest = math.prod(n for n in sizes if n != -1)
        if rest == 0 or math.prod(before) % rest:
            return None
        sizes[sizes.index(-1)] = math.prod(before) // rest
    return tuple(sizes) if math.prod(sizes) == math.prod(before) else None


def _positions(
    trace: OnnxTrace, verdict: Verdict, index: int, node: NodeProto, values: Sequence[Array | None]
) -> list[Literal] | None:
    """Rewrites of picked positions; None where none can be found."""
    takes = [trace.graph.nodes[p] for p in trace.takes.get(index, [])]
    if not takes:
        return []
    if node.op_type == "Split":
        return _split(trace, verdict, index, node, values)
    starts = ends = None
    if node.op_type == "Slice":
        assert values[1] is not None
        assert values[2] is not None
        starts, ends = values[1].copy(), values[2].copy()
    literals = []
    for k, take in enumerate(takes):
        x, axis = take.inputs[0], int(take.attributes["axis"])
        assert x is not None
        stays, picked = verdict.kept(x, axis), np.asarray(take.attributes["index"], np.int64)
        rank = np.cumsum(stays) - 1
        wanted = rank[picked[stays[picked]]]
        if starts is None or ends is None:
            literals += _gather(trace, verdict, index, node, values[1], (wanted, int(stays.sum()), axis))
            continue
        step = 1 if len(values) < 5 or values[4] is None else int(values[4][k])
        if np.array_equal(np.arange(int(stays.sum()))[int(starts[k]) : int(ends[k]) : step], wanted):
            continue
        if not take.attributes["free"] or step != 1:
            return None
        starts[k], ends[k] = int(wanted[0]), int(wanted[-1]) + 1
    if starts is not None and ends is not None:
        for slot, fresh in ((1, starts), (2, ends)):
            old = values[slot]
            if old is not None and not np.array_equal(fresh, old):
                literals.append(Literal(index, slot, fresh, old, scales=False))
    return literals


def _gather(
    trace: OnnxTrace,
    verdict: Verdict,
    index: int,
    node: NodeProto,
    old: Array | None,
    wish: tuple[Array, int, int],
) -> list[Literal]:
    """Rewrite of a Gather's index, where positions moved."""
    wanted, size, axis = wish
    assert old is not None
    if np.array_equal(old.ravel() % size, wanted) and (old < size).all():
        return []
    out = verdict.size(trace.number[node.output[0]])
    fresh = wanted.reshape(out[axis : axis + old.ndim]).astype(old.dtype)
    return [Literal(index, 1, fresh, old, scales=False)]


def _split(
    trace: OnnxTrace, verdict: Verdict, index: int, node: NodeProto, values: Sequence[Array | None]
) -> list[Literal]:
    """Rewrite of a Split's sizes, where they are no longer the file's."""
    axis = int(attributes_of(node).get("axis", 0))
    sizes = np.asarray([verdict.size(trace.number[n])[axis] for n in node.output], np.int64)
    listed = attributes_of(node).get("split")
    old = values[1] if len(values) > 1 else None if listed is None else np.asarray(listed, np.int64)
    if old is None:
        each = -(-int(sizes.sum()) // len(sizes))
        plain = [min(each, int(sizes.sum()) - i * each) for i in range(len(sizes))]
        if list(sizes) == plain:
            return []
    elif np.array_equal(old, sizes):
        return []
    return [Literal(index, 1 if opset_of(trace.settled.model) >= 13 else -1, sizes, None, scales=False)]
