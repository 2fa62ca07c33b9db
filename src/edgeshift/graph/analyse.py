# SPDX-License-Identifier: Apache-2.0
"""Decide which channels stay: forwards for constants, backwards for readers, then what must stay whole."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from edgeshift.core.registry import Shelf
from edgeshift.graph.carriers import choices_of, choose_carriers, keep_carriers
from edgeshift.graph.channels import Array, ChannelGraph
from edgeshift.graph.facts import Demands, Edits, Facts, Lift
from edgeshift.graph.rules.shape import Rule
from edgeshift.graph.ties import Box, Ties

RULES = Shelf("rule", "graph/rules")
# Layers from this width on are rounded up to 16 where any rounding is asked for (bench/records/shrink_widths).
WIDE, WIDE_STEP = 256, 16


@cache
def rules() -> dict[str, Rule]:
    """Node kind -> the rule that speaks for it."""
    made = [RULES.make(name) for name in RULES.names()]
    return {kind: rule for rule in made for kind in rule.kinds}


@dataclass
class Verdict:
    """Who stays, and what changes with it. A `Fate` for the rules.

    Attributes:
        graph: The network.
        ties: Atoms of every axis.
        facts: Constants and readers.
        alive: Per atom, whether it stays.
        moved: Reader position -> channel that goes -> channel that carries its constant.
        lifts: Reader position -> how its carrier got a constant, where it had none of its own.
        edits: Changes of numbers and attributes.
        named: Operators without a rule that held channels, with counts.
        picks: What `picked` found, by the id of the atoms.
        masks: What `mask` found, by the id of the atoms.
        sizes: What `size` found.
    """

    graph: ChannelGraph
    ties: Ties
    facts: Facts
    alive: Array
    moved: dict[int, dict[int, int]] = field(default_factory=dict)
    lifts: dict[int, Lift] = field(default_factory=dict)
    edits: Edits = field(default_factory=Edits)
    named: dict[str, int] = field(default_factory=dict)
    picks: dict[int, Array | None] = field(default_factory=dict)
    masks: dict[int, tuple[Array, Array, int]] = field(default_factory=dict)
    sizes: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def stays(self, atoms: Array) -> Array:
        """Bool of the same shape."""
        return np.asarray(self.alive[self.ties.roots(atoms)])

    def mask(self, atoms: Array) -> tuple[Array, int]:
        """Which of these stay, and how many; to be asked only once all is decided."""
        found = self.masks.get(id(atoms))
        if found is None:
            stays = self.stays(atoms)
            found = self.masks[id(atoms)] = (atoms, stays, int(np.count_nonzero(stays)))
        return found[1:]

    def kept(self, number: int, axis: int) -> Array:
        """See `Fate.kept`."""
        vector = self.ties.labels[number].axes[axis]
        if vector is not None:
            return self.mask(vector)[0]
        return np.ones(self.graph.values[number].shape[axis], np.bool_)

    def where(self, number: int, axis: int) -> Array | None:
        """Positions that stay along one axis, ascending; None where all do."""
        vector = self.ties.labels[number].axes[axis]
        return None if vector is None else self.picked(vector)

    def picked(self, atoms: Array) -> Array | None:
        """Positions of the atoms that stay, ascending; None where all do; to be asked only once all is decided."""
        if id(atoms) not in self.picks:
            stays, count = self.mask(atoms)
            self.picks[id(atoms)] = None if count == len(stays) else stays.nonzero()[0]
        return self.picks[id(atoms)]

    def carriers(self, position: int) -> dict[int, int]:
        """See `Fate.carriers`."""
        return self.moved.get(position, {})

    def lift(self, position: int) -> Lift | None:
        """See `Fate.lift`."""
        return self.lifts.get(position)

    def size(self, number: int) -> tuple[int, ...]:
        """See `Fate.size`; to be asked only once all is decided."""
        if number in self.sizes:
            return self.sizes[number]
        labels = self.ties.labels[number]
        shape = list(self.graph.values[number].shape)
        for axis, vector in enumerate(labels.axes):
            if vector is not None:
                shape[axis] = self.mask(vector)[1]
        if labels.cells is not None:
            spans = labels.box_axes()
            shape[spans[-1]] = int(self.stays(labels.cells).sum(spans[-1]).max())
        made = self.sizes[number] = tuple(shape)
        return made

    def changed(self) -> bool:
        """Whether any size changes."""
        return any(self.size(n) != v.shape for n, v in enumerate(self.graph.values) if v.param) or bool(
            self.edits.grouped
        )


def tie_all(graph: ChannelGraph, fixed: frozenset[int] = frozenset()) -> Ties:
    """The atoms of every axis of every tensor; sizes of the values in `fixed` must not change.

    Depends on the structure alone, so the graph keeps it for the next weights.
    """
    if fixed in graph.ties:
        known: Ties = graph.ties[fixed]
        return known
    ties = Ties(graph, fixed=fixed)
    for node in graph.nodes:
        rules()[node.kind].tie(node, ties)
        # A pad pins what it adds, not what it pads; and whoever reads what it made spells nothing out by that.
        if node.kind != "pad" and node.attributes.get("spelled", True) and node.spelled in fixed:
            ties.pin_value(node.spelled)
    for number in graph.outputs:
        ties.pin_value(number)
    ties.settle()
    ties.graph = (
        graph.bare()
    )  # so that nothing holds the weights when the graph is dropped, which holds the ties
    graph.ties[fixed] = ties
    return ties


def learn(graph: ChannelGraph) -> Facts:
    """Constants forwards, then readers backwards."""
    facts, speakers = Facts(graph), [(rules()[node.kind], node) for node in graph.nodes]
    with np.errstate(all="ignore"):  # what is not finite counts as not known
        for rule, node in speakers:
            rule.constants(node, facts)
    for number in graph.outputs:
        facts.read_all_of(number)
    for rule, node in reversed(speakers):
        rule.reads(node, facts)
    return facts


def analyse(graph: ChannelGraph, *, pinned: frozenset[int] = frozenset(), multiple: int = 1) -> Verdict:
    """Who stays.

    Args:
        graph: The network.
        pinned: Values whose sizes must not change, since the user's code spells them out.
        multiple: Widths are rounded up to it where dead channels are left to fill them; see `step_for`.
    """
    ties = tie_all(graph, pinned)
    facts = learn(graph)
    silent, awake = np.zeros((2, ties.used), np.bool_)
    while True:
        demands = Demands(ties, silent=silent)
        verdict = _decide(facts, demands, multiple)
        gone = np.zeros(ties.used, np.bool_)
        for atoms in demands.noted:
            gone[ties.roots(atoms)] = True
        awake |= silent & verdict.alive
        # A constant that goes needs none of those it was made of, unless that very decision brings it back.
        quiet = (silent | (gone & ~verdict.alive)) & ~awake
        if np.array_equal(quiet, silent):
            break
        silent = quiet
    for position, node in enumerate(graph.nodes):
        rules()[node.kind].edit(position, node, facts, verdict, verdict.edits)
    return verdict


def _decide(facts: Facts, demands: Demands, multiple: int) -> Verdict:
    """Who stays, given which channels are known to go."""
    graph, ties = facts.graph, demands.ties
    for position, node in enumerate(graph.nodes):
        rules()[node.kind].demand(position, node, facts, demands)
    _need(facts, demands)
    alive = np.zeros(ties.used, np.bool_)
    if demands.kept:
        alive[ties.roots(np.concatenate(demands.kept))] = True
    alive[ties.held] = True
    verdict = Verdict(graph, ties, facts, alive, named=demands.named)
    make_whole(verdict)
    choices = choices_of(verdict, demands)
    if choices:
        keep_carriers(choices, verdict)
        make_whole(verdict)
    if multiple > 1:  # only now: a carrier counts
        _round_up(verdict, multiple)
    choose_carriers(choices, verdict)
    return verdict


def _need(facts: Facts, demands: Demands) -> None:
    """Whatever is read and not known beforehand stays."""
    ties = demands.ties
    for vector, members in ties.places:
        which, seen, along = np.zeros(len(vector), np.bool_), None, -1
        for number, axis in members:
            needed = facts.needed(number)
            if needed is seen and axis == along:  # as it is through functions of one tensor
                continue
            seen, along = needed, axis
            if needed.size > 1:
                which |= facts.needed_channels(number, axis)
            elif np.count_nonzero(needed):
                which[:] = True
                break
        demands.keep(vector[which])
    for number in ties.spread:
        labels = ties.labels[number]
        if facts.graph.values[number].data is None and labels.cells is not None:
            needed = facts.needed(number)
            spans = labels.box_axes()
            free = tuple(d for d in range(needed.ndim) if d not in spans)
            demands.keep(labels.cells[np.broadcast_to(needed.any(free, keepdims=True), labels.cells.shape)])


def make_whole(verdict: Verdict) -> None:
    """Bring back dead channels where a block must stay full or an axis would vanish."""
    ties, alive = verdict.ties, verdict.alive
    vectors, starts = ties.sets
    while True:
        before = int(np.count_nonzero(alive))
        for box in ties.boxes:
            _fill(box, box.cells, box.slices, alive)
        if int(np.count_nonzero(alive)) != before:
            continue
        # Only now: a slice is alive as soon as one of its cells is, which the boxes have just said.
        empty = np.flatnonzero(~np.logical_or.reduceat(alive[vectors], starts)) if len(starts) else starts
        if not len(empty):
            return
        # One at a time, as the first may fill others too.
        for start in starts[empty]:
            end = starts[np.searchsorted(starts, start, "right")] if start < starts[-1] else len(vectors)
            if not alive[vectors[start:end]].any():
                alive[vectors[start]] = True


def _fill(box: Box, cells: Array, slices: list[Array], alive: Array) -> None:
    """Bring back cells until every slice that stays holds equally many."""
    mask: Array = alive[cells]
    present = np.ones(cells.shape[:-1], np.bool_)
    for axis, atoms in enumerate(slices):
        others = tuple(d for d in range(cells.ndim) if d != axis)
        here = mask.any(others) | alive[atoms]
        if not here.any():
            here[0] = True
        alive[atoms[here]] = True
        present &= here.reshape([-1 if d == axis else 1 for d in range(cells.ndim - 1)])
    if box.whole:
        alive[cells[present]] = True
        return
    if box.strict:
        columns = np.asarray(mask.any(tuple(range(cells.ndim - 1))))
        if not columns.any():
            columns[0] = True
        alive[cells[present[..., None] & columns]] = True
        return
    wanted = max(1, int(mask.sum(-1)[present].max(initial=0)))
    short = wanted - mask.sum(-1, keepdims=True)
    revived = ~mask & present[..., None] & (np.cumsum(~mask, -1) <= short)
    alive[cells[revived]] = True


def step_for(width: int, multiple: int) -> int:
    """What a layer's width is rounded up to: `multiple`, and at least 16 for layers that were wide.

    Args:
        width: Channels before the cut.
        multiple: What was asked for; the answer is a multiple of it.
    """
    return multiple * -(-WIDE_STEP // multiple) if width >= WIDE else multiple


def _round_up(verdict: Verdict, multiple: int) -> None:
    """Bring back dead channels until a layer's width is a multiple; blocks keep the widths they need.

    A wide layer without enough dead channels for its own step is rounded up to `multiple`, as any other.
    """
    ties, alive = verdict.ties, verdict.alive
    boxed = np.zeros(len(alive), np.bool_)
    for box in ties.boxes:
        boxed[ties.roots(box.cells)] = True
    for node in verdict.graph.nodes:
        if node.kind not in ("conv", "linear"):
            continue
        for vector in ties.labels[node.outputs[0]].axes:
            if vector is None:
                continue
            atoms = ties.roots(vector)
            if boxed[atoms].any():
                continue
            dead = atoms[~alive[atoms]]
            for step in (step_for(len(atoms), multiple), multiple):
                short = -int(alive[atoms].sum()) % step
                if short <= len(dead):
                    alive[dead[:short]] = True
                    break
    make_whole(verdict)
