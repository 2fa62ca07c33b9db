# SPDX-License-Identifier: Apache-2.0
"""Cut an ONNX model to the verdict: initialisers, attributes, and the sizes it spells out. No torch."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgeshift.core.errors import BadValue
from edgeshift.graph.analyse import Verdict
from edgeshift.graph.channels import Array
from edgeshift.graph.fronts.onnx import OnnxTrace
from edgeshift.graph.onnx_model import FLOATS, array_of, captured, first_line, fresh_name, tensor_of
from edgeshift.graph.onnx_sizes import Literal, Spelled


def cut_onnx(
    trace: OnnxTrace, verdict: Verdict, spelled: Spelled, model: ModelProto | None = None
) -> ModelProto:
    """A smaller copy of the model.

    Args:
        trace: The analysed model.
        verdict: Who stays.
        spelled: What the file's sizes must be; has no misfits.
        model: The same operators with the same names in another float type; default is the traced model.

    Returns:
        A model without unused initialisers; its interface is the original's.
    """
    return _Cut(trace, verdict, spelled, trace.settled.model if model is None else model).result


class _Cut:
    """One copy of the model, changed step by step."""

    def __init__(self, trace: OnnxTrace, verdict: Verdict, spelled: Spelled, model: ModelProto) -> None:
        self.trace, self.verdict = trace, verdict
        self.result = ModelProto()
        self.result.CopyFrom(model)
        self.nodes: list[NodeProto] = list(self.result.graph.node)
        self.tensors = {t.name: t for t in self.result.graph.initializer}
        self.taken = {*self.tensors, *(i.name for i in model.graph.input)}
        self.taken |= {o for n in self.nodes for o in n.output}
        self.before: dict[int, list[NodeProto]] = {}
        self.after: dict[int, list[NodeProto]] = {}
        self._parameters()
        self._scales()
        for position, delta in verdict.edits.bias.items():
            self._bias(position, delta)
        for position, changes in verdict.edits.attributes.items():
            self._attributes(position, changes)
        for literal in spelled.literals:
            self._literal(literal)
        for position in {
            self.trace.owner[p] for p, n in enumerate(trace.graph.nodes) if n.kind == "recurrent"
        }:
            self._recurrent(self.nodes[position])
        silenced = self._silence()
        self._finish(drop_unread=silenced)

    def _parameters(self) -> None:
        """Every parameter that changes."""
        edits, shifts = self.verdict.edits, self._shifts()
        for number, value in enumerate(self.trace.graph.values):
            if not value.param:
                continue
            index = [np.flatnonzero(self.verdict.kept(number, axis)) for axis in range(len(value.shape))]
            whole = all(len(i) == n for i, n in zip(index, value.shape, strict=True))
            grid, columns = edits.grouped.get(number), edits.columns.get(number, [])
            factor, shift = edits.rows.get(number), shifts.get(value.param)
            if whole and grid is None and not columns and factor is None and shift is None:
                continue
            stored = self.tensors[value.param]
            array = array_of(stored)
            if factor is not None:
                array = array * factor.reshape([-1] + [1] * (array.ndim - 1))
            if shift is not None:
                array = array.astype(np.float64) + shift
            for axis, carrier, gone, factors in columns:
                array = _move_columns(array, axis, carrier, gone, factors)
            self._store(value.param, _select(array, index, grid), stored.data_type)

    def _scales(self) -> None:
        """Scales and zero points of quantised weights, where every row or column has its own."""
        for number, (node, axis) in self.trace.scaled.items():
            stays = self.verdict.kept(number, axis)
            for name in node.input[1:]:
                if name and len(self.tensors[name].dims) and len(stays) == np.prod(self.tensors[name].dims):
                    stored = self.tensors[name]
                    self._store(name, array_of(stored)[stays], stored.data_type)

    def _shifts(self) -> dict[str, Array]:
        """Parameter -> what to add to it; parts of a recurrent layer's bias put where they belong."""
        found: dict[str, Array] = {}
        for number, change in self.verdict.edits.shifts.items():
            name, direction, start = self.trace.halves.get(number, ("", 0, 0))
            if not name:
                found[self.trace.graph.values[number].param] = change
                continue
            whole = found.setdefault(name, np.zeros(tuple(self.tensors[name].dims)))
            whole[direction, start : start + len(change)] += change
        return found

    def _store(self, name: str, array: Array, kind: int) -> None:
        self.tensors[name] = tensor_of(array, name, kind)

    def _bias(self, position: int, delta: Array) -> None:
        """Add what gone constants gave to a layer's bias; give it one if it had none."""
        node = self.trace.graph.nodes[position]
        _, weight, bias = node.inputs
        assert weight is not None
        owner = self.nodes[self.trace.owner[position]]
        stays = self.verdict.kept(node.outputs[0], self._channel_axis(position))
        change = delta[stays]
        if bias is not None:
            name = self.trace.graph.values[bias].param
            stored = self.tensors[name]
            self._store(name, array_of(stored).astype(np.float64) + change, stored.data_type)
            return
        stem = self.trace.graph.values[weight].param or owner.output[0]
        name = fresh_name(f"{stem.removesuffix('.weight')}.bias", self.taken)
        self._store(name, change, self._float_kind(owner))
        if owner.op_type != "MatMul":
            kept = list(owner.input)[:2]
            del owner.input[:]
            owner.input.extend([*kept, name])
            return
        inner = fresh_name(f"{owner.output[0]}_product", self.taken)
        add = helper.make_node(
            "Add", [inner, name], [owner.output[0]], fresh_name(f"{owner.name}_bias", self.taken)
        )
        owner.output[0] = inner
        self.after.setdefault(self.trace.owner[position], []).append(add)

    def _channel_axis(self, position: int) -> int:
        node = self.trace.graph.nodes[position]
        last = len(self.trace.graph.shape(node.outputs[0])) - 1
        return last - int(node.attributes["rank"]) if node.kind == "conv" else last

    def _float_kind(self, owner: NodeProto) -> int:
        """Element type of an operator's weight: that of its stored inputs, else of the first float tensor."""
        for name in (*owner.input, *self.tensors):
            if name in self.tensors and self.tensors[name].data_type in FLOATS:
                return int(self.tensors[name].data_type)
        return int(TensorProto.FLOAT)

    def _attributes(self, position: int, changes: dict[str, object]) -> None:
        """New group counts."""
        owner = self.nodes[self.trace.owner[position]]
        for key, value in changes.items():
            name = "group" if key == "groups" else key
            kept = [a for a in owner.attribute if a.name != name]
            del owner.attribute[:]
            owner.attribute.extend([*kept, helper.make_attribute(name, value)])

    def _recurrent(self, owner: NodeProto) -> None:
        """A recurrent layer's count of units; its zero states, of the old width, are the default anyway."""
        units = int(self.tensors[owner.input[2]].dims[2])
        if units == next(a.i for a in owner.attribute if a.name == "hidden_size"):
            return
        kept = [a for a in owner.attribute if a.name != "hidden_size"]
        inputs = list(owner.input)[: 4 if owner.input[3:4] != [""] else 3]
        del owner.attribute[:], owner.input[:]
        owner.attribute.extend([*kept, helper.make_attribute("hidden_size", units)])
        owner.input.extend(inputs)

    def _literal(self, literal: Literal) -> None:
        """Other numbers in one input of an operator."""
        node = self.nodes[literal.node]
        if node.op_type == "Split":
            kept = [a for a in node.attribute if a.name not in ("split", "num_outputs")]
            del node.attribute[:]
            node.attribute.extend(kept)
            if literal.slot < 0:
                node.attribute.append(helper.make_attribute("split", [int(n) for n in literal.numbers]))
                return
        while len(node.input) <= literal.slot:
            node.input.append("")
        old = node.input[literal.slot]
        stored = literal.now is None or old in self.tensors or old in self.trace.trial.fixed
        if stored:
            node.input[literal.slot] = self._constant(f"{node.output[0]}_sizes", literal.numbers)
            return
        assert literal.now is not None
        differs = literal.numbers != literal.now
        grows = differs & (literal.now > 0) & literal.scales
        if grows.any():
            up = np.where(grows, literal.numbers, 1)
            down = np.where(grows, literal.now, 1)
            old = self._insert(literal.node, "Mul", [old, self._constant(f"{old}_up", up)])
            old = self._insert(literal.node, "Div", [old, self._constant(f"{old}_down", down)])
        fixed = differs & ~grows
        if fixed.any():
            where, numbers = (
                self._constant(f"{old}_where", fixed),
                self._constant(f"{old}_numbers", literal.numbers),
            )
            old = self._insert(literal.node, "Where", [where, numbers, old])
        node.input[literal.slot] = old

    def _constant(self, wish: str, array: Array) -> str:
        name = fresh_name(wish, self.taken)
        self.tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def _insert(self, index: int, op: str, inputs: list[str]) -> str:
        """A new operator right before another one; its output."""
        out = fresh_name(f"{inputs[-1]}_{op.lower()}", self.taken)
        self.before.setdefault(index, []).append(helper.make_node(op, inputs, [out], out))
        return out

    def _silence(self) -> bool:
        """Give sums the constant itself that a branch gives for every input; whether there was one.

        A convolution keeps one channel where all are dead, so that a dead residual block would go on computing.
        """
        outputs = {o.name for o in self.result.graph.output}
        held = outputs.union(*(captured(n) for n in self.nodes))
        quantised = {n.output[0] for n in self.nodes if n.op_type == "DequantizeLinear"}
        renamed: dict[str, str] = {}
        found = False
        for node in self.nodes:
            # A lifted shift is a constant that the analysis did not know.
            silent = None if node.op_type != "Add" or self.verdict.lifts else self._silent_input(node)
            if silent is None:
                continue
            slot, constant = silent
            if constant.any() and node.input[slot] in quantised:
                continue  # a runtime sums in whole numbers only what is quantised on both sides
            found = True
            if not constant.any() and node.output[0] not in held:
                renamed[node.output[0]] = node.input[1 - slot]
                continue
            name = fresh_name(f"{node.input[slot]}_constant", self.taken)
            self._store(name, constant, self._float_kind(node))
            node.input[slot] = name
        for node in self.nodes:
            for slot, name in enumerate(node.input):
                while name in renamed:
                    name = renamed[name]
                node.input[slot] = name
        return found

    def _silent_input(self, node: NodeProto) -> tuple[int, Array] | None:
        """Which input of a sum is known, and its numbers, small enough to be stored; None where none or both are."""
        known = [self._known(name) for name in node.input]
        numbers = [self.trace.number.get(name) for name in node.input]
        if None in numbers or (known[0] is None) == (known[1] is None):
            return None
        slot = int(known[0] is None)
        here, other = (self.verdict.size(n) for n in (numbers[slot], numbers[1 - slot]) if n is not None)
        constant = known[slot]
        # Of another shape it would widen the sum.
        return None if constant is None or here != other else (slot, constant)

    def _known(self, name: str) -> Array | None:
        """What a computed tensor is for every input, along one axis at most; None where that is not known."""
        number, facts = self.trace.number.get(name), self.verdict.facts
        if number is None or self.trace.graph.values[number].data is not None or facts.is_tainted(number):
            return None
        constant = facts.constant(number)
        for axis, size in enumerate(constant.shape):
            if size > 1:
                constant = np.compress(self.verdict.kept(number, axis), constant, axis)
        return (
            None if np.isnan(constant).any() or constant.size > max(constant.shape, default=1) else constant
        )

    def _finish(self, *, drop_unread: bool) -> None:
        """Operators in order, initialisers that are used, equal copies made one again."""
        graph = self.result.graph
        self._join_copies()
        ordered = []
        for index, node in enumerate(self.nodes):
            for each in (*self.before.get(index, ()), node, *self.after.get(index, ())):
                copy = NodeProto()
                copy.CopyFrom(each)
                ordered.append(copy)
        if drop_unread:
            ordered = _read_by_outputs(ordered, {o.name for o in graph.output})
        used = {i for n in ordered for i in n.input} | {o.name for o in graph.output}
        for node in ordered:
            used |= captured(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(ordered)
        stored = [t for n, t in self.tensors.items() if n in used]
        del graph.initializer[:]
        graph.initializer.extend(stored)

    def _join_copies(self) -> None:
        """Vectors that `settle` copied and the cut left equal are stored once."""
        renamed = {}
        for copy, origin in self.trace.settled.copies.items():
            a, b = self.tensors[copy], self.tensors[origin]
            if a.dims == b.dims and a.raw_data == b.raw_data and np.array_equal(array_of(a), array_of(b)):
                renamed[copy] = origin
        for node in self.nodes:
            for slot, name in enumerate(node.input):
                node.input[slot] = renamed.get(name, name)


def _read_by_outputs(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """The operators that outputs depend on, in order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted |= {*node.input} | captured(node)
            found.append(node)
    return found[::-1]


def _move_columns(array: Array, axis: int, carrier: int, gone: Array, factors: Array) -> Array:
    """Add the columns that go, scaled, to the column that carries them."""
    result = array.copy()
    scale = factors.reshape([-1 if d == axis else 1 for d in range(array.ndim)])
    moved = (np.take(array, gone, axis).astype(np.float64) * scale).sum(axis)
    at = (slice(None),) * axis + (carrier,)
    result[at] = (array[at].astype(np.float64) + moved).astype(array.dtype)
    return result


def _select(array: Array, index: list[Array], grid: Array | None) -> Array:
    """The rows and columns that stay; for grouped weights, each group's own columns."""
    if grid is not None:
        per_group = array.shape[0] // len(grid)
        owner = np.repeat(np.arange(len(grid)), per_group)[index[0]]
        width = int(grid.sum(1).max())
        picked = np.stack([np.flatnonzero(grid[g]) if grid[g].any() else np.arange(width) for g in owner])
        array = array[index[0][:, None], picked]
        index = [
            np.arange(n) if d < 2 else i for d, (n, i) in enumerate(zip(array.shape, index, strict=True))
        ]
    for axis, which in enumerate(index):
        if len(which) < array.shape[axis]:
            array = np.take(array, which, axis)
    return array


def checked(model: ModelProto, ranks: Mapping[str, int]) -> ModelProto:
    """The model with its inner sizes inferred, after ONNX's own checker has looked at it.

    Args:
        model: The model.
        ranks: Output name -> number of axes, for outputs whose sizes ONNX cannot infer.

    Raises:
        BadValue: If the checker refuses it, as it would the file it came from.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    for output in inferred.graph.output:
        if output.type.HasField("tensor_type") and not output.type.tensor_type.HasField("shape"):
            open_dims = [onnx.TensorShapeProto.Dimension() for _ in range(ranks[output.name])]
            output.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=open_dims))
    try:
        onnx.checker.check_model(inferred)
    except onnx.checker.ValidationError as error:
        raise BadValue("ONNX file", first_line(error), "one that ONNX's checker takes") from error
    return inferred
