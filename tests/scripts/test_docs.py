# SPDX-License-Identifier: Apache-2.0
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from edgeshift.core import values
from edgeshift.core.registry import shelves

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = [(s, n) for s in shelves() for n in s.names()]
VALUES = [n for n, c in inspect.getmembers(values, inspect.isclass) if c.__module__ == values.__name__]


def load(name: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = load("docs")


def test_pages_are_up_to_date() -> None:
    assert sorted(docs.differences()) == [], "run `make docs`"


@pytest.mark.parametrize(("shelf", "name"), PLUGINS, ids=[f"{s.folder}/{n}" for s, n in PLUGINS])
def test_every_option_has_a_meaning(shelf: object, name: str) -> None:
    rows = [r for r in docs.plugin_page(shelf, name).splitlines() if r.startswith("| `")]
    assert [r for r in rows if r.endswith("|  |")] == []


def test_every_plug_in_is_on_the_map() -> None:
    text = docs.pages()["docs/MAP.md"]
    assert [n for s, n in PLUGINS if f"[{n}](methods/{s.folder}/{n}.md)" not in text] == []


def test_floors_count_from_the_ground() -> None:
    assert docs.floors_of({"a": [], "b": ["a"], "c": ["a"], "d": ["a", "c"]}) == {
        "a": 0,
        "b": 1,
        "c": 1,
        "d": 2,
    }


def test_attributes_are_read_over_several_lines() -> None:
    text = (
        "Says.\n\nMore.\n\nAttributes:\n    power: Exponent;\n        above 0.\n    kind: Which: one of two."
    )
    assert docs.split_docstring(text) == (
        "Says.\n\nMore.",
        {"power": "Exponent; above 0.", "kind": "Which: one of two."},
    )


def test_a_bar_does_not_end_a_cell() -> None:
    assert docs.cell("|w|") == "\\|w\\|"


@pytest.mark.parametrize("name", VALUES)
def test_every_value_of_the_house_is_in_the_glossary(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "WORDS.md").read_text(encoding="utf-8")


def test_a_word_has_one_meaning() -> None:
    rows = (ROOT / "docs" / "WORDS.md").read_text(encoding="utf-8").splitlines()
    words = [r.split("|")[1].strip(" `").lower() for r in rows if r.startswith("| ")]
    assert len(words) == len(set(words)) + words.count("word") - 1
