# SPDX-License-Identifier: Apache-2.0
"""Which channels carry the constants of those that go, where zero padding keeps them out of the bias."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeshift.graph.channels import Array, ChannelGraph, Node
from edgeshift.graph.facts import Demands, Facts, Lift, Merge
from edgeshift.graph.ties import Ties


class Fates(Protocol):
    """Who stays so far; see `analyse.Verdict`."""

    graph: ChannelGraph
    ties: Ties
    facts: Facts
    alive: Array
    moved: dict[int, dict[int, int]]
    lifts: dict[int, Lift]


@dataclass(frozen=True)
class Choice:
    """A merge, and who could carry it.

    Attributes:
        merge: What a reader asks for.
        atoms: Of its channels.
        norm: The batch norm right before the reader whose shift may be changed for it, if there is one.
        others: Atom -> position of further channels that are known before the norm; their constant is zero, or
            nobody has a weight on it, until the norm's shift makes it what another one is.
    """

    merge: Merge
    atoms: Array
    norm: Node | None
    others: dict[int, int]

    def candidates(self) -> dict[int, float]:
        """Atom -> size of the constant it has by itself."""
        own = dict(zip(self.atoms.tolist(), np.abs(self.merge.constants).tolist(), strict=True))
        return {**dict.fromkeys(self.others, 0.0), **own}


def choices_of(fates: Fates, demands: Demands) -> list[Choice]:
    """What every reader with such constants can choose from."""
    found = []
    for merge in demands.merges:
        vector = fates.ties.axis(merge.value, merge.axis)
        if vector is None:
            continue
        roots = fates.ties.roots(vector)
        norm, others = _norm_before(merge, fates), {}
        if norm is not None:
            known = ~np.isnan(fates.facts.channel(norm.outputs[0], 1))
            known[merge.channels] = False
            others = {int(roots[i]): int(i) for i in np.flatnonzero(known)}
        found.append(Choice(merge, roots[merge.channels], norm, others))
    return found


def _norm_before(merge: Merge, fates: Fates) -> Node | None:
    """The batch norm whose numbers only this reader sees, through functions of one tensor."""
    number, graph, uses = merge.value, fates.graph, fates.ties.uses
    while merge.axis == 1 and uses.get(number) == 1 and number in graph.makers:
        node = graph.makers[number]
        if node.kind == "affine":
            shift = node.inputs[2]
            own = shift is not None and bool(graph.values[shift].param) and uses[shift] == 1
            return node if own else None
        if node.kind != "elementwise" or len(node.inputs) != 1 or not node.attributes.get("fn"):
            return None
        assert node.inputs[0] is not None
        number = node.inputs[0]
    return None


def keep_carriers(choices: list[Choice], fates: Fates) -> None:
    """See that one of the candidates of every choice stays: the one that most can share, again and again."""
    open_: dict[int, dict[int, float]] = {}
    votes: dict[int, dict[int, None]] = {}
    for k, choice in enumerate(choices):
        candidates = choice.candidates()
        if not fates.alive[list(candidates)].any():
            open_[k] = candidates
            for atom in candidates:
                votes.setdefault(atom, {})[k] = None
    while open_:  # of equals the one with the largest constant
        best = max(
            votes, key=lambda a: (len(votes[a]), max((open_[k][a] for k in votes[a]), default=0.0), -a)
        )
        fates.alive[best] = True
        for k in list(votes[best]):
            for atom in open_.pop(k):
                del votes[atom][k]


def choose_carriers(choices: list[Choice], fates: Fates) -> None:
    """Say which channel carries the constants of those that go: of those that stay, the largest, or a lifted one."""
    for choice in choices:
        merge, stays = choice.merge, fates.alive[choice.atoms]
        largest = int(np.abs(merge.constants).argmax())
        if stays.any():
            carrier = int(merge.channels[np.flatnonzero(stays)[np.abs(merge.constants[stays]).argmax()]])
        else:
            carrier = next(i for atom, i in choice.others.items() if fates.alive[atom])
            assert choice.norm is not None and choice.norm.inputs[2] is not None
            before = fates.facts.channel(choice.norm.outputs[0], 1)
            shift = float(before[merge.channels[largest]] - before[carrier])
            fates.lifts[merge.node] = Lift(
                choice.norm.inputs[2], carrier, shift, float(merge.constants[largest])
            )
        fates.moved[merge.node] = {int(i): carrier for i in merge.channels[~stays]}
