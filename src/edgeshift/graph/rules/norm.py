# SPDX-License-Identifier: Apache-2.0
"""Normalisation: batch norm maps channel by channel; layer, group and RMS norm mix the channels they cover."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.ties import Labels, Ties


def _factor(scale: Array, variance: Array, eps: float | Array) -> Array:
    """What a batch norm multiplies by, float64."""
    return np.asarray(scale / np.sqrt(np.add(variance, eps, dtype=np.float64)))


def _factors(facts: Facts) -> dict[int, Array]:
    """Output -> `_factor`, of every batch norm with stored numbers.

    One call for all of them: numpy takes longer to be asked than to count.
    """
    values, found = facts.graph.values, []
    for node in facts.graph.nodes:
        if node.kind == "affine" and node.inputs[1] is not None and node.inputs[4] is not None:
            scale, variance = values[node.inputs[1]].data, values[node.inputs[4]].data
            size = facts.graph.shape(node.outputs[0])[1]
            if scale is not None and variance is not None and scale.shape == variance.shape == (size,):
                found.append((node, scale, variance))
    # Numbers that are not finite are asked one by one.
    if not found or any(
        facts.is_tainted(i) for node, _, _ in found for i in (node.inputs[1], node.inputs[4])
    ):
        return {}
    sizes = [len(scale) for _, scale, _ in found]
    eps = np.repeat([float(node.attributes["eps"]) for node, _, _ in found], sizes)
    whole = _factor(np.concatenate([s for _, s, _ in found]), np.concatenate([v for _, _, v in found]), eps)
    pieces = np.split(whole, np.cumsum(sizes)[:-1])
    return {node.outputs[0]: piece for (node, _, _), piece in zip(found, pieces, strict=True)}


@dataclass(frozen=True)
class Norm:
    """Batch norm in evaluation mode, instance norm, layer norm, RMS norm and group norm.

    Kinds: "affine" is batch norm with stored statistics: inputs x, scale, shift, mean, variance. "instance_norm":
    x, scale, shift. "mix_norm" covers the axes in attribute `axes` jointly: x and parameters over those axes.
    "group_norm" covers `groups` runs of channels.
    """

    card: ClassVar[Card] = Card(
        name="norm",
        says="Batch and instance norm per channel; layer, RMS and group norm keep what they mix.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("affine", "instance_norm", "mix_norm", "group_norm")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        x = node.inputs[0]
        assert x is not None
        params = [i for i in node.inputs[1:] if i is not None]
        if node.kind == "mix_norm":
            axes = [int(a) for a in node.attributes["axes"]]
            for number in params:
                for own, axis in enumerate(axes):
                    if ties.axis(x, axis) is not None:
                        ties.weight_axis(number, own)
                        ties.tie_axes([(x, axis), (number, own)])
                    elif axis in ties.labels[x].box_axes():
                        ties.pin(ties.labels[x].cells)
        else:
            vector = ties.axis(x, 1)
            if vector is not None and all(ties.graph.values[number].param for number in params):
                for number in params:
                    ties.adopt(number, 0, vector)
            else:
                for number in params:
                    ties.weight_axis(number, 0)
                ties.tie_axes([(x, 1), *((number, 0) for number in params)])
            if node.kind == "group_norm" and vector is not None:
                ties.add_box(vector.reshape(int(node.attributes["groups"]), -1))
        ties.labels[node.outputs[0]] = Labels(list(ties.labels[x].axes), ties.labels[x].cells)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`; a scale of zero makes a constant of anything finite."""
        out = node.outputs[0]
        x = node.inputs[0]
        assert x is not None
        facts.tainted[out] = any(facts.is_tainted(i) for i in node.inputs)
        rank = len(facts.graph.shape(x))
        size = facts.graph.shape(x)[1] if rank > 1 else 0

        def vector(position: int, default: float) -> Array:
            number = node.inputs[position]
            if number is None:
                return np.full(size, default)
            data = facts.graph.values[number].data
            if data is not None and len(data) == size and not facts.is_tainted(number):
                return data
            return np.broadcast_to(facts.constant(number), (size,))

        if node.kind == "affine":
            if facts.factors is None:
                facts.factors = _factors(facts)
            factor = facts.factors.get(out)
            if factor is None:
                factor = _factor(vector(1, 1.0), vector(4, 1.0), float(node.attributes["eps"]))
            # Not finite for a variance below zero, or no number at all.
            facts.tainted[out] |= bool(np.count_nonzero(np.isfinite(factor)) < size)
            flat = None if facts.is_tainted(x) else factor == 0
            if flat is not None and not np.count_nonzero(flat):
                flat = None
            if flat is None and facts.blank([x]):
                return
            shift = vector(2, 0.0)
            result = (facts.channel(x, 1) - vector(3, 0.0)) * factor + shift
            if flat is not None:
                result = np.where(flat, shift, result)
        elif node.kind == "instance_norm":
            inputs = facts.channel(x, 1)
            scale, shift = vector(1, 1.0), vector(2, 0.0)
            flat = ~np.isnan(inputs) | (scale == 0)
            result = np.where(flat & (not facts.is_tainted(x)), shift, np.nan)
        elif node.kind == "group_norm":
            scale, shift = vector(1, 1.0), vector(2, 0.0)
            result = np.where((scale == 0) & (not facts.is_tainted(x)), shift, np.nan)
        else:
            if node.inputs[1] is not None and not facts.is_tainted(x):
                scale = facts.constant(node.inputs[1])
                last = node.inputs[2] if len(node.inputs) > 2 else None
                shift = np.zeros(1) if last is None else facts.constant(last)
                flat = np.where(scale == 0, shift, np.nan)
                facts.const[out] = flat.reshape((1,) * (rank - flat.ndim) + flat.shape)
            return
        result = np.where(np.isfinite(result), result, np.nan)
        facts.const[out] = result.reshape([1, -1] + [1] * (rank - 2))

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`; a norm that mixes reads all it covers."""
        x, out = node.inputs[0], node.outputs[0]
        needed = facts.needed(out)
        if not np.count_nonzero(needed):
            return
        for number in node.inputs[1:]:
            if number is not None:
                facts.read_all_of(number)
        if node.kind == "mix_norm":
            needed = np.asarray(needed.any(tuple(int(a) for a in node.attributes["axes"]), keepdims=True))
        elif node.kind == "group_norm":
            size = facts.graph.shape(out)[1]
            groups = facts.needed_channels(out, 1).reshape(int(node.attributes["groups"]), -1)
            whole = np.repeat(groups.any(1), groups.shape[1])
            needed = whole.reshape([1, size] + [1] * (needed.ndim - 2))
        elif node.kind == "instance_norm":
            needed = np.asarray(needed.any(tuple(range(2, needed.ndim)), keepdims=True))
        facts.add_read(x, needed)

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: what is mixed stays, constant or not."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        if node.kind == "mix_norm" and facts.needed(out).any():
            for axis in node.attributes["axes"]:
                demands.keep_axis(x, int(axis), np.ones(facts.graph.shape(x)[int(axis)], np.bool_))
        elif node.kind == "group_norm":
            groups = facts.needed_channels(out, 1).reshape(int(node.attributes["groups"]), -1)
            demands.keep_axis(x, 1, np.repeat(groups.any(1), groups.shape[1]))
        elif node.kind == "instance_norm":
            self._keep_positions(x, facts.needed_channels(out, 1), demands)

    @staticmethod
    def _keep_positions(x: int, needed: Array, demands: Demands) -> None:
        """Channels that a reshape moved into the positions a norm covers stay, constant or not."""
        labels = demands.ties.labels[x]
        for axis in range(2, len(labels.axes)):
            if labels.axes[axis] is not None and needed.any():
                demands.keep(labels.axes[axis])
        if labels.cells is not None and max(labels.box_axes()) > 1:
            whole = labels.cells if labels.cells.shape[1] == 1 else labels.cells[:, needed]
            demands.keep(whole if needed.any() else whole[:0])

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: whole groups may go from a group norm."""
        x = node.inputs[0]
        assert x is not None
        if node.kind == "group_norm":
            groups = int(node.attributes["groups"])
            left = int(fate.kept(x, 1).reshape(groups, -1).any(1).sum())
            if left != groups:
                edits.attributes.setdefault(position, {})["num_groups"] = left

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`: folded into the neighbouring convolution at run time."""
        return 0
