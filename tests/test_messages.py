# SPDX-License-Identifier: Apache-2.0
"""Every message has the house's grammar: `<what> must be <want>, got <value>` or `no <noun> named ...`."""

import ast
import inspect
from pathlib import Path

import pytest

import edgeshift
from edgeshift.core import errors
from edgeshift.core.registry import ROOT as SRC
from edgeshift.core.registry import class_name, read_card, shelves

HOUSE = Path(edgeshift.__file__).parent
OURS = {n for n, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.EdgeShiftError)}
# Their constructors write the sentence; the caller gives the parts.
COMPOSED = {"BadValue": 3, "UnknownName": 3, "NotInstalled": 2, "Refused": 1}
# Not errors of ours: Python's own contracts ask for these classes by name.
PYTHON = {
    "AttributeError",
    "NotImplementedError",
    "StopIteration",
    "SystemExit",
    "KeyboardInterrupt",
    "Exit",
    "EOFError",
}
FILES = sorted(HOUSE.glob("**/*.py"))
names = [f.relative_to(HOUSE).as_posix() for f in FILES]
PLUGINS = [(s, n) for s in shelves() for n in s.names()]


def raised(file: Path) -> list[tuple[int, str, ast.Call]]:
    """Line, class name and call of every `raise Class(...)`."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            function = node.exc.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name[:1].isupper():
                found.append((node.lineno, name, node.exc))
    return found


def well_said(said: str) -> bool:
    """Whether a literal has the grammar, or only passes on a sentence that was made elsewhere."""
    passed_on = said.endswith(": {}") or not any(c.isalpha() for c in said)
    return ("must " in said and "got" in said) or said.startswith("no ") or passed_on


def text(node: ast.expr | None) -> str:
    """The literal parts of a string, an f-string or a sum of them; `{}` stands for each value."""
    match node:
        case ast.Constant(value=str() as value):
            return value
        case ast.JoinedStr(values=parts):
            return "".join(text(p) if isinstance(p, ast.Constant) else "{}" for p in parts)
        case ast.BinOp(left=left, right=right):
            return text(left) + text(right)
        case _:
            return "{}"


@pytest.mark.parametrize("file", FILES, ids=names)
def test_only_errors_of_the_house_are_raised(file: Path) -> None:
    assert [(line, name) for line, name, _ in raised(file) if name not in OURS | PYTHON] == []


@pytest.mark.parametrize("file", FILES, ids=names)
def test_every_message_says_what_must_be_and_what_was_got(file: Path) -> None:
    wrong = []
    for line, name, call in raised(file):
        if name in COMPOSED:
            good = len(call.args) + len(call.keywords) == COMPOSED[name]
        elif name in OURS:
            good = bool(call.args) and well_said(text(call.args[0]))
        else:
            good = True
        if not good:
            wrong.append((line, name, text(call.args[0]) if call.args else ""))
    assert wrong == []


@pytest.mark.parametrize("file", FILES, ids=names)
def test_no_error_is_swallowed(file: Path) -> None:
    bare = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            if everything and all(isinstance(s, ast.Pass | ast.Continue) for s in node.body):
                bare.append(node.lineno)
    assert bare == []


@pytest.mark.parametrize("file", FILES, ids=names)
def test_every_file_states_its_licence(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: Apache-2.0\n")


@pytest.mark.parametrize(("shelf", "name"), PLUGINS, ids=[f"{s.folder}/{n}" for s, n in PLUGINS])
def test_a_plug_in_has_the_name_of_its_file(shelf: object, name: str) -> None:
    path = SRC / shelf.folder / f"{name}.py"  # type: ignore[attr-defined]
    classes = {
        n.name for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef)
    }
    assert read_card(path).name == name
    assert class_name(name) in classes


@pytest.mark.parametrize(("shelf", "name"), PLUGINS, ids=[f"{s.folder}/{n}" for s, n in PLUGINS])
def test_a_card_is_one_sentence_with_a_source(shelf: object, name: str) -> None:
    card = read_card(SRC / shelf.folder / f"{name}.py")  # type: ignore[attr-defined]
    assert "\n" not in card.says
    assert card.paper
    assert card.link.startswith("https://") or (card.link == "" and card.paper.lower().startswith("house"))
