# SPDX-License-Identifier: Apache-2.0
"""Sizes that stand in the user's own forward: found by running the cut model, adjusted or left alone.

A forward such as `x.view(batch, 3, self.heads, self.width)` spells out sizes. The trace shows only numbers, so
whether one follows the layers, comes from an attribute or is a literal is found out by running: where the cut model
fails, the attribute that was read there and holds the old size gets the new one; if there is none, the place is
reported and its channels stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from edgeshift.core.shape_plan import ShapePlan
from edgeshift.graph.analyse import Verdict
from edgeshift.graph.channels import Node
from edgeshift.graph.fronts.torch_export import evaluating, user_line


@dataclass
class Settled:
    """How the cut model fits its own forward.

    Attributes:
        plan: Shapes, with the attributes that had to follow.
        stuck: Values whose sizes the user's code fixes; empty when the model runs.
        adjusted: Whether an attribute was changed.
    """

    plan: ShapePlan
    stuck: frozenset[int] = field(default_factory=frozenset)
    adjusted: bool = False


def spelled_nodes(verdict: Verdict) -> list[tuple[int, Node]]:
    """Positions and nodes whose spelled-out sizes the cut changes."""
    found = []
    for position, node in verdict.graph.spelled:
        if any(old != new for _, old, new in changes_of(node, verdict)):
            found.append((position, node))
    return found


def changes_of(node: Node, verdict: Verdict) -> list[tuple[int, int, int]]:
    """(axis, old size, new size) of every size a node spells out; of a pad, what it adds on either side."""
    value = node.spelled
    if node.kind == "pad":
        found = []
        for a in node.attributes.get("spelled", ()):
            low, high = int(node.attributes["before"][a]), int(node.attributes["after"][a])
            stays = verdict.kept(value, a)
            found += [(a, low, int(stays[:low].sum())), (a, high, int(stays[len(stays) - high :].sum()))]
        return found
    old, new = verdict.graph.shape(value), verdict.size(value)
    axes = [int(a) for a in node.attributes.get("spelled", ())]
    return [(a, old[a], new[a]) for a in axes]


def settle(small: nn.Module, plan: ShapePlan, verdict: Verdict, example: tuple[Any, ...]) -> Settled:
    """Run the cut model; let attributes follow where it fails, or say which values are stuck.

    Args:
        small: The cut model; attributes are set on it.
        plan: Its shape plan so far.
        verdict: What was cut.
        example: The traced arguments.
    """
    suspects = spelled_nodes(verdict)
    if not suspects:
        return Settled(plan)
    attributes = {m: dict(a) for m, a in plan.attributes.items()}
    adjusted: set[tuple[str, str]] = set()
    while True:
        reads, error = _watch(small, {node.module for _, node in suspects}, example)
        if error is None:
            return Settled(replace(plan, attributes=attributes), adjusted=bool(adjusted))
        guilty = _guilty(suspects, verdict, user_line(error))
        fresh = {
            c for n in guilty for c in _candidates(small, n, verdict, _reads_like(small, n.module, reads))
        }
        fresh = {c for c in fresh if c[:2] not in adjusted}
        if not fresh:
            return Settled(plan, frozenset(n.spelled for n in guilty))
        for module, name, size in fresh:
            setattr(small.get_submodule(module), name, size)
            attributes.setdefault(module, {})[name] = size
            adjusted.add((module, name))


def _reads_like(small: nn.Module, name: str, reads: Mapping[str, Mapping[str, None]]) -> Mapping[str, None]:
    """What a module read; of one that did not run yet, what the others of its class did.

    Twenty blocks of one class would otherwise take twenty runs, each of which fails one block later.
    """
    if "forward" in reads[name]:
        return reads[name]
    kind = type(small.get_submodule(name))
    alike = [seen for other, seen in reads.items() if type(small.get_submodule(other)) is kind]
    return max((seen for seen in alike if "forward" in seen), key=len, default={})


def _guilty(suspects: list[tuple[int, Node]], verdict: Verdict, line: str) -> list[Node]:
    """The spelled-out nodes behind a failure: on its line, else the last before it, else all."""
    here = [node for _, node in suspects if node.line == line]
    if here:
        return here
    first = next((p for p, n in enumerate(verdict.graph.nodes) if n.line == line), None)
    before = [node for p, node in suspects if first is not None and p < first]
    if before:
        return [n for n in before if n.line == before[-1].line]
    return [node for _, node in suspects]


def _candidates(
    small: nn.Module, node: Node, verdict: Verdict, read: Mapping[str, None]
) -> set[tuple[str, str, int]]:
    """Integer attributes that the module read and that hold an old size, each with the new one.

    Where several sizes were equal (three heads of width three), they are told apart by the order of reading.
    """
    held = vars(small.get_submodule(node.module))
    found = set()
    changes = changes_of(node, verdict)
    for size in {old for _, old, new in changes if old != new}:
        names = [k for k in read if type(held.get(k)) is int and held[k] == size]
        wanted = [new for _, old, new in changes if old == size]
        if len(wanted) != len(names):  # some of the sizes are literals, and those did not change
            wanted = [new for new in wanted if new != size]
            wanted = wanted[:1] * len(names) if len(set(wanted)) == 1 else wanted
        found |= {(node.module, name, new) for name, new in zip(names, wanted, strict=False) if new != size}
    return found


def _watch(
    model: nn.Module, names: set[str], example: tuple[Any, ...]
) -> tuple[dict[str, dict[str, None]], Exception | None]:
    """Run a model once and note which attributes some modules read, in order; and the error it met, if any."""
    reads: dict[str, dict[str, None]] = {name: {} for name in names}
    classes = {}
    for name in names:
        module = model.get_submodule(name)
        classes[name] = type(module)
        module.__class__ = _spy(type(module), reads[name])
    try:
        with evaluating(model), torch.no_grad():
            model(*example)
    except Exception as error:  # whatever the user's forward raises on sizes it did not expect
        return reads, error
    finally:
        for name, plain in classes.items():
            model.get_submodule(name).__class__ = plain
    return reads, None


def _spy(plain: type[nn.Module], seen: dict[str, None]) -> type[nn.Module]:
    """A subclass that notes which attributes are read."""

    def get(self: nn.Module, name: str) -> Any:
        seen[name] = None
        return plain.__getattribute__(self, name)

    return type(plain.__name__, (plain,), {"__getattribute__": get})
