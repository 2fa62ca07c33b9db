# SPDX-License-Identifier: Apache-2.0
"""GRU, LSTM and plain recurrent layers: whole hidden units."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeshift.core.card import Card
from edgeshift.graph.channels import Array, Node
from edgeshift.graph.facts import Demands, Edits, Facts, Fate
from edgeshift.graph.readers import is_shared
from edgeshift.graph.ties import Labels, Ties

# Blocks of rows in each weight, and the one that makes the candidate: all of it zero and a zero state stays zero,
# whatever the gates do.
GATES = {"gru": (3, 2), "lstm": (4, 2), "onnx_lstm": (4, 3), "rnn": (1, 0)}


@dataclass(frozen=True)
class Recurrent:
    """One layer in one direction.

    Kinds: "recurrent" (x, w_ih, w_hh, b_ih, b_hh, states; `cell`, `own_state` = the layer makes its zero state,
    `can_bias` = constants may go into b_ih, `parts` = the weights are parts of parameters, as ONNX stacks them),
    "same_width" (layers of one module keep equally many units), "last_state" (the final state of a layer).
    """

    card: ClassVar[Card] = Card(
        name="recurrent",
        says="GRU, LSTM and RNN layers: hidden units that stay zero or that nobody reads.",
        paper="house rule",
        needs="weights",
    )
    kinds: ClassVar[tuple[str, ...]] = ("recurrent", "same_width", "last_state")

    def tie(self, node: Node, ties: Ties) -> None:
        """See `Rule.tie`."""
        if node.kind == "same_width":
            vectors = [ties.axis(i, len(ties.graph.shape(i)) - 1) for i in node.inputs if i is not None]
            known = [v for v in vectors if v is not None]
            if len(known) == len(vectors):
                slices = ties.fresh(len(known))
                ties.pin(slices)
                ties.add_box(np.stack(known), [slices])
            else:
                for vector in known:
                    ties.pin(vector)
            return
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        shape = ties.graph.shape(out)
        axes: list[Array | None] = [None] * len(shape)
        if node.kind == "last_state":
            axes[-1] = ties.axis(x, len(ties.graph.shape(x)) - 1)
            ties.labels[out] = Labels(axes)
            return
        w_ih, w_hh = node.inputs[1], node.inputs[2]
        assert w_ih is not None and w_hh is not None
        last = len(ties.graph.shape(x)) - 1
        for outer in ties.labels[x].axes[:last]:
            ties.pin(outer)
        units = ties.weight_axis(w_hh, 1)
        columns, inner = ties.axis(x, last), ties.weight_axis(w_ih, 1)
        if columns is None or inner is None:
            ties.pin(columns)
            ties.pin(inner)
            if last in ties.labels[x].box_axes():
                ties.pin(ties.labels[x].cells)
        else:
            ties.union(columns, inner)
        blocks = GATES[node.attributes["cell"]][0]
        for number in node.inputs[1:5]:
            if number is None:
                continue
            rows = ties.weight_axis(number, 0)
            if rows is None or units is None:
                ties.pin(rows)
                ties.pin(units)
            else:
                ties.union(rows, np.tile(units, blocks))
        if not node.attributes["own_state"]:
            for state in node.inputs[5:]:
                assert state is not None
                given = ties.axis(state, len(ties.graph.shape(state)) - 1)
                if given is None or units is None:
                    ties.pin(given)
                    ties.pin(units)
                else:
                    ties.union(given, units)
        axes[-1] = units
        ties.labels[out] = Labels(axes)

    @staticmethod
    def _blocks(node: Node, facts: Facts) -> tuple[list[Array], Array, Array] | None:
        """Weights as `(blocks, units, columns)` magnitudes: [input, recurrent], summed biases, or None."""
        count = GATES[node.attributes["cell"]][0]
        found = []
        for number in node.inputs[1:3]:
            assert number is not None
            numbers = facts.numbers(number)
            if numbers is None:
                return None
            found.append(np.abs(numbers, dtype=np.float64).reshape(count, -1, numbers.shape[1]))
        units = found[0].shape[1]
        bias = np.zeros((count, units))
        for number in node.inputs[3:5]:
            if number is not None:
                numbers = facts.numbers(number)
                if numbers is None:
                    return None
                bias = bias + np.abs(numbers, dtype=np.float64).reshape(count, -1)
        return found, bias, np.arange(units)

    def constants(self, node: Node, facts: Facts) -> None:
        """See `Rule.constants`: a unit whose candidate is always zero never leaves a zero state."""
        if node.kind == "same_width":
            return
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        facts.tainted[out] = any(facts.is_tainted(i) for i in node.inputs)
        rank = len(facts.graph.shape(out))
        if node.kind == "last_state":
            known = facts.channel(x, len(facts.graph.shape(x)) - 1)
            facts.const[out] = np.where(known == 0, 0.0, np.nan).reshape([1] * (rank - 1) + [-1])
            return
        parts = self._blocks(node, facts)
        if parts is None or facts.tainted[out]:
            return
        (w_in, w_rec), bias, units = parts
        which = GATES[node.attributes["cell"]][1]
        started = np.zeros(len(units), np.bool_)
        for state in node.inputs[5:]:
            known = facts.constant(state)
            started |= np.broadcast_to((known != 0).any(tuple(range(known.ndim - 1))), started.shape)
        inputs = facts.channel(x, len(facts.graph.shape(x)) - 1)
        zero = ~started & (bias[which] == 0) & ~(w_in[which][:, inputs != 0].any(1))
        while True:  # a unit stays zero if it only hears units that stay zero
            still = zero & ~(w_rec[which][:, ~zero].any(1))
            if np.array_equal(still, zero):
                break
            zero = still
        facts.const[out] = np.where(zero, 0.0, np.nan).reshape([1] * (rank - 1) + [-1])

    def reads(self, node: Node, facts: Facts) -> None:
        """See `Rule.reads`: a unit is read by readers of the output and by units that are read."""
        if node.kind == "same_width":
            return
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        shape = facts.graph.shape(x)
        needed = facts.needed_channels(out, len(facts.graph.shape(out)) - 1)
        if not needed.any():
            return
        if node.kind == "last_state":
            facts.add_read(x, needed.reshape([1] * (len(shape) - 1) + [-1]))
            return
        parts = self._blocks(node, facts)
        if parts is None or facts.is_tainted(out):
            facts.read_whole(node)
            facts.add_read(out, np.ones((1,) * len(facts.graph.shape(out)), np.bool_))
            return
        (w_in, w_rec), _, _ = parts
        known_zero = facts.channel(out, len(facts.graph.shape(out)) - 1) == 0
        heard = needed.copy()
        while True:
            more = heard | (w_rec[:, heard].any((0, 1)) & ~known_zero)
            if np.array_equal(more, heard):
                break
            heard = more
        facts.add_read(out, heard.reshape([1] * (len(facts.graph.shape(out)) - 1) + [-1]))
        columns = np.asarray(w_in[:, heard].any((0, 1)))
        facts.add_read(x, columns.reshape([1] * (len(shape) - 1) + [-1]))
        for number in node.inputs[1:]:
            if number is not None:
                facts.add_read(number, np.ones((1,) * len(facts.graph.shape(number)), np.bool_))

    def demand(self, position: int, node: Node, facts: Facts, demands: Demands) -> None:
        """See `Rule.demand`: a constant input that is not zero moves gates; it goes into their bias, or stays."""
        if node.kind != "recurrent":
            return
        x = node.inputs[0]
        assert x is not None
        axis = len(facts.graph.shape(x)) - 1
        known = ~np.isnan(facts.constant(x)).any(tuple(range(axis)))
        shift = np.broadcast_to(known, (facts.graph.shape(x)[axis],)) & (facts.channel(x, axis) != 0)
        shared = any(is_shared(i, demands.ties) for i in (node.inputs[1], node.inputs[3]) if i is not None)
        if self._can_shift(node, facts) and not shared:
            shift = shift & np.isnan(facts.channel(x, axis))  # another constant at every position
        if facts.needed(node.outputs[0]).any():
            demands.keep_axis(x, axis, shift)

    @staticmethod
    def _can_shift(node: Node, facts: Facts) -> bool:
        """Whether what constant inputs add may go into the bias of the inputs."""
        w, bias = node.inputs[1], node.inputs[3]
        if not node.attributes.get("can_bias") or w is None or bias is None:
            return False
        plain = node.attributes.get("parts") or all(facts.graph.values[i].param for i in (w, bias))
        return plain and not facts.is_tainted(w) and not facts.is_tainted(bias)

    def edit(self, position: int, node: Node, facts: Facts, fate: Fate, edits: Edits) -> None:
        """See `Rule.edit`: what gone constants gave to the gates goes into their bias."""
        if node.kind != "recurrent" or not self._can_shift(node, facts):
            return
        x, w, bias = node.inputs[0], node.inputs[1], node.inputs[3]
        assert x is not None and w is not None and bias is not None
        axis = len(facts.graph.shape(x)) - 1
        known = facts.channel(x, axis)
        gone = ~fate.kept(x, axis) & ~np.isnan(known) & (known != 0)
        if gone.any():
            weight = facts.numbers(w)
            assert weight is not None
            edits.shifts[bias] = weight[:, gone].astype(np.float64) @ known[gone]

    def macs(self, node: Node, fate: Fate) -> int:
        """See `Rule.macs`."""
        if node.kind != "recurrent":
            return 0
        assert node.inputs[1] is not None and node.inputs[2] is not None
        steps = math.prod(fate.size(node.outputs[0])[:-1])
        return steps * (math.prod(fate.size(node.inputs[1])) + math.prod(fate.size(node.inputs[2])))
