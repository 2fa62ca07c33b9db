# SPDX-License-Identifier: Apache-2.0
"""What every rule of the channel graph owes, and every kind of node that a front end makes."""

import ast
from pathlib import Path

import pytest

from edgeshift.core.registry import ROOT
from edgeshift.graph.analyse import RULES, rules

QUESTIONS = ("tie", "constants", "reads", "demand", "edit", "macs")
FRONTS = sorted((ROOT / "graph" / "fronts").glob("**/*.py"))


@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_answers_every_question(name: str) -> None:
    plugin = RULES.make(name)
    assert [q for q in QUESTIONS if not callable(getattr(type(plugin), q, None))] == []
    assert plugin.kinds


def test_no_kind_has_two_rules() -> None:
    kinds = [kind for name in RULES.names() for kind in RULES.make(name).kinds]
    assert sorted(kinds) == sorted(rules())


def emitted(path: Path) -> set[str]:
    """Kinds that a front end names in a call of `emit`, as literals."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def test_the_front_ends_name_kinds() -> None:
    assert {"conv", "linear", "affine", "reshape", "cat"} <= set().union(*map(emitted, FRONTS))


@pytest.mark.parametrize("path", FRONTS, ids=lambda p: p.stem)
def test_every_kind_that_a_front_end_makes_has_a_rule(path: Path) -> None:
    assert emitted(path) - set(rules()) == set()
