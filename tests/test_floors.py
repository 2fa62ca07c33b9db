# SPDX-License-Identifier: Apache-2.0
"""Imports go down only: the table in pyproject.toml is what the source does."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "src" / "edgeshift"
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["edgeshift"]["rooms"]
FILES = sorted(HOUSE.glob("*/**/*.py"))
names = [f.relative_to(HOUSE).as_posix() for f in FILES]


def imported(file: Path) -> set[str]:
    """Dotted names of `file`'s imports, those inside functions and strings of `import_module` included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            found |= {node.value} if node.value.startswith("edgeshift.") else set()
    return found


@pytest.mark.parametrize("file", FILES, ids=names)
def test_a_room_imports_only_the_rooms_behind_it(file: Path) -> None:
    room = file.relative_to(HOUSE).parts[0]
    reached = {name.split(".")[1] for name in imported(file) if name.startswith("edgeshift.")}
    above = (reached & set(TABLE)) - {room, *TABLE[room]}
    assert not above, f"{room} must import only {TABLE[room]}, got {sorted(above)}"


@pytest.mark.parametrize("file", FILES, ids=names)
def test_no_import_is_relative(file: Path) -> None:
    assert [name for name in imported(file) if name.startswith(".")] == []


def test_every_room_is_in_the_table() -> None:
    assert {name.split("/")[0] for name in names} <= set(TABLE)


def test_the_table_has_no_circle() -> None:
    below: dict[str, set[str]] = {}
    for room, behind in TABLE.items():  # a room may only name rooms above it in the table
        below[room] = set(behind)
        assert below[room] < set(below) | {room}, f"{room} must stand below what it imports"
