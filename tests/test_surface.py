# SPDX-License-Identifier: Apache-2.0
"""The names a user imports: few, sorted, loaded on first use."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import edgeshift

PUBLIC = edgeshift.__all__
ROOT = Path(edgeshift.__file__).parent


def test_at_most_fourteen_names_are_public() -> None:
    assert len(PUBLIC) <= 14


def test_public_names_are_sorted() -> None:
    assert list(PUBLIC) == sorted(set(PUBLIC))


def test_the_listing_shows_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(edgeshift))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(edgeshift, name) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_thing_says_what_it_is(name: str) -> None:
    assert (getattr(edgeshift, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'edgeshift' has no attribute 'shrnk'"):
        _ = edgeshift.shrnk


def test_the_package_loads_no_room_at_import() -> None:
    program = "import sys, edgeshift; print([m for m in sys.modules if m.startswith('edgeshift.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("door", sorted(ROOT.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_a_door_says_what_its_room_does(door: Path) -> None:
    assert ast.get_docstring(ast.parse(door.read_text(encoding="utf-8")))


@pytest.mark.parametrize("door", sorted(ROOT.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_a_door_opens_everything_it_lists(door: Path) -> None:
    room = import_module(f"edgeshift.{door.parent.name}")
    assert [name for name in getattr(room, "__all__", []) if getattr(room, name, None) is None] == []


def test_no_public_name_is_a_room() -> None:
    # An imported room becomes an attribute of the package and would take the name: docs/decisions/0001.
    assert set(PUBLIC) & {door.parent.name for door in ROOT.glob("*/__init__.py")} == set()
