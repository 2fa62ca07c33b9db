# SPDX-License-Identifier: Apache-2.0
"""Graphs of the variants of a nested file, made where torch and onnx are installed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor, nn

from edgeshift.core.errors import BadPortfolio
from edgeshift.formats.nested import Axis
from edgeshift.formats.nested_onnx import BLOCK, KINDS, block_names, own_names
from edgeshift.formats.onnx_file import TOLERANCE, Template, make_template, worst_error
from edgeshift.formats.onnx_graph import fill_
from edgeshift.formats.weights import named_tensors

# Opset of ONNX Runtime's own operators.
MICROSOFT = "com.microsoft"


def bare(graph: onnx.ModelProto, names: frozenset[str]) -> bytes:
    """The graph without the tensors of those names; constants of the graph stay."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    _drop(model, set(names))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _drop(model: onnx.ModelProto, names: set[str]) -> None:
    rest = [onnx.TensorProto.FromString(t.SerializeToString()) for t in model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(t for t in rest if t.name not in names)


def graph_of(model: nn.Module, example: Tensor, template: Template | None) -> onnx.ModelProto:
    """The unfolded graph of a model, with its tensors.

    Args:
        model: In eval mode, float32.
        example: `(batch, *input_shape)`, float32, batch of at least 2.
        template: From a larger model of the same class; used if the model's tensors fit and it then answers as torch
            does, which saves an export.

    Raises:
        Untraceable: If torch cannot export the model.
    """
    if template is not None:
        tensors = {n: t.detach().cpu().contiguous().numpy() for n, t in named_tensors(model)}
        groups = {
            f"{n}.weight".lstrip("."): m.groups for n, m in model.named_modules() if hasattr(m, "groups")
        }
        graph = onnx.ModelProto()
        graph.CopyFrom(template.graph)
        with suppress(BadPortfolio):
            if (
                not fill_(graph, tensors, template.names, groups)
                and worst_error(graph.SerializeToString(), model, example) <= TOLERANCE
            ):
                return graph
    return make_template(model, example).graph


def split(
    graph: onnx.ModelProto, axes: Mapping[str, tuple[Axis, ...]], own: frozenset[str], variant: int
) -> tuple[bytes, list[str]]:
    """The graph with each convolution and linear layer split at the blocks of its weight's columns.

    A layer becomes one for each block, their outputs added up: what each reads is then one piece of the nested
    file. Where the variant's channels lie in another order than the file's, activations are gathered.

    Args:
        graph: As exported, weights or not.
        axes: Name of a tensor -> its axes.
        own: Names of the tensors that the variant has of its own.
        variant: Its number.

    Returns:
        The graph without tensors, and the names of the tensors that it reads.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    work = _Split(model, axes, own, variant)
    for node in list(model.graph.node):
        work.take(node)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in work.nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop(model, set(axes))
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in work.constants.items())
    if any(node.domain == MICROSOFT for node in nodes):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    read = {name for node in nodes for name in node.input}
    known = {n for n in read if n.partition(BLOCK)[0] in axes}
    return model.SerializeToString(deterministic=True), sorted(known)


def joined(
    graphs: Sequence[onnx.ModelProto], axes: Mapping[str, tuple[Axis, ...]], own: Mapping[str, np.dtype[Any]]
) -> bytes | None:
    """One graph for all variants, whose weights are inputs; None if the variants differ by more than their widths.

    The blocks of a weight's columns are inputs each and put side by side when the graph runs; blocks that a variant
    lacks have no columns. What it has of its own is one input, taken apart when the graph runs. It computes what a
    variant's own graph does; only kernels that pack constant weights beforehand may add up in another order there.

    Args:
        graphs: Of the variants, as exported, the largest first, weights or not.
        axes: Name of a tensor -> its axes.
        own: Names of the tensors that each variant has of its own, in the order of the file, with dtype.
    """
    sorted_ones = all(a.is_sorted(k) for each in axes.values() for a in each for k in range(len(graphs)))
    bones = [_without_tensors(graph, frozenset(axes)) for graph in graphs]
    if not sorted_ones or any(bone != bones[0] for bone in bones):
        return None
    model = bones[0]
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    read = {name for node in nodes for name in node.input}
    if any(name in own and len(axes[name]) != 1 for name in read):
        return None
    kinds = {t.name: t.data_type for t in graphs[0].graph.initializer}
    for kind in {own[name].str: None for name in own if name in read}:
        block, sizes = own_names(kind)
        parts = [name for name, dtype in own.items() if dtype.str == kind]
        model.graph.input.append(helper.make_tensor_value_info(block, KINDS[kind], [None]))
        model.graph.input.append(helper.make_tensor_value_info(sizes, onnx.TensorProto.INT64, [len(parts)]))
        model.graph.node.append(helper.make_node("Split", [block, sizes], parts, axis=0))
    placed = set(own)
    for node in nodes:
        for name in node.input:
            if name not in axes or name in placed:
                continue
            placed.add(name)
            parts = block_names(name, axes[name])
            if parts != [name]:
                model.graph.node.append(helper.make_node("Concat", parts, [name], axis=1))
            rank = [None] * len(axes[name])
            model.graph.input.extend(helper.make_tensor_value_info(p, kinds[name], rank) for p in parts)
        model.graph.node.append(node)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _without_tensors(graph: onnx.ModelProto, names: frozenset[str]) -> onnx.ModelProto:
    """The graph without the tensors of those names and without what was inferred of shapes."""
    model: onnx.ModelProto = onnx.ModelProto.FromString(bare(graph, names))
    del model.graph.value_info[:]
    return model


class _Split:
    """The nodes of the new graph while they are made."""

    def __init__(
        self,
        model: onnx.ModelProto,
        axes: Mapping[str, tuple[Axis, ...]],
        own: frozenset[str],
        variant: int,
    ) -> None:
        self.axes, self.own, self.variant = axes, own, variant
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.parts: dict[tuple[str, bytes, bytes], list[str]] = {}
        self.uses = Counter(name for node in model.graph.node for name in node.input)

    def take(self, node: NodeProto) -> None:
        """One node of the old graph."""
        weight = node.input[1] if len(node.input) > 1 else ""
        if weight not in self.axes or weight in self.own or self.uses[weight] > 1 or not self.can(node):
            self.nodes.append(node)
            return
        rows, columns = self.axes[weight][:2]
        widths = [n for last, n in columns.shells if last >= self.variant]
        turned = not rows.is_sorted(self.variant)
        if len(widths) == 1 and not turned and columns.is_sorted(self.variant):
            self.nodes.append(node)
            return
        inputs = self.split_input(node.input[0], widths, columns)
        # A bias is in the variant's order, the rows in the file's: it is added after they are turned.
        bias = node.input[2] if len(node.input) > 2 else ""
        last = node.output[0] + f"{BLOCK}turned" if turned else node.output[0]
        self.chain(node, weight, inputs, "" if turned else bias, last)
        if turned:
            self.gather(last, node.output[0] + (f"{BLOCK}flat" if bias else ""), rows.place(self.variant))
            if bias:
                self.add_bias(node, bias)

    @staticmethod
    def can(node: NodeProto) -> bool:
        """Whether the node is a layer that can be split."""
        facts = {a.name: a for a in node.attribute}
        if node.op_type == "Conv":
            return "group" not in facts or facts["group"].i == 1
        plain = all(n not in facts or facts[n].f == 1 for n in ("alpha", "beta"))
        turned = (
            "transB" in facts and facts["transB"].i == 1 and ("transA" not in facts or facts["transA"].i == 0)
        )
        return node.op_type == "Gemm" and plain and turned

    def constant(self, array: np.ndarray) -> str:
        """Name of a constant, one for equal ones."""
        for name, known in self.constants.items():
            if np.array_equal(known, array):
                return name
        name = f"{BLOCK}{len(self.constants)}"
        self.constants[name] = array
        return name

    def split_input(self, name: str, widths: list[int], columns: Axis) -> list[str]:
        """The input in the file's order, one value for each block."""
        size = columns.size(self.variant)
        order = np.argsort(columns.place(self.variant), kind="stable").astype(np.int64)
        key = (name, np.array(widths).tobytes(), order.tobytes())
        if key in self.parts:
            return self.parts[key]
        base = f"{name}{BLOCK}{len(self.parts)}"
        if not columns.is_sorted(self.variant):
            self.gather(name, f"{base}.sorted", order)
            name = f"{base}.sorted"
        found = [name] if len(widths) == 1 else [f"{base}.{number}" for number in range(len(widths))]
        assert sum(widths) == size
        if len(widths) > 1:
            sizes = self.constant(np.array(widths, np.int64))
            self.nodes.append(helper.make_node("Split", [name, sizes], found, axis=1))
        self.parts[key] = found
        return found

    def gather(self, source: str, target: str, order: np.ndarray) -> None:
        """Channels in another order."""
        index = self.constant(order.astype(np.int64))
        self.nodes.append(helper.make_node("Gather", [source, index], [target], axis=1))

    def chain(self, node: NodeProto, weight: str, inputs: list[str], bias: str, output: str) -> None:
        """One layer for each block, each adding to the one before."""
        total = ""
        for number, given in enumerate(inputs):
            name = output if number == len(inputs) - 1 else f"{output}{BLOCK}{number}"
            block = f"{weight}{BLOCK}{number}"
            if node.op_type == "Gemm":
                more = [part for part in (total or bias,) if part]
                made = helper.make_node("Gemm", [given, block, *more], [name])
            elif not number:
                made = helper.make_node("Conv", [given, block, *([bias] if bias else [])], [name])
            else:
                made = helper.make_node("FusedConv", [given, block, "", total], [name], domain=MICROSOFT)
            made.attribute.extend(node.attribute)
            self.nodes.append(made)
            total = name

    def add_bias(self, node: NodeProto, bias: str) -> None:
        """A bias after the channels were turned; `(channels,)` in front of the space axes for convolutions."""
        flat, shaped = f"{node.output[0]}{BLOCK}flat", bias
        if node.op_type == "Conv":
            space = next(len(a.ints) for a in node.attribute if a.name == "kernel_shape")
            shape = self.constant(np.array([1, -1] + [1] * space, np.int64))
            shaped = f"{node.output[0]}{BLOCK}bias"
            self.nodes.append(helper.make_node("Reshape", [bias, shape], [shaped]))
        self.nodes.append(helper.make_node("Add", [flat, shaped], [node.output[0]]))
