# SPDX-License-Identifier: Apache-2.0
"""Writes a plug-in and its test from the contract of its shelf.

python scripts/new.py sparsity/criteria taylor --says "..." --paper "..." --link https://... --needs gradients
"""

import argparse
import ast
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeshift.core.card import NEEDS, Card
from edgeshift.core.errors import BadValue, EdgeShiftError, UnknownName
from edgeshift.core.registry import ROOT as HOUSE
from edgeshift.core.registry import Shelf, class_name, shelves

ROOT = Path(__file__).resolve().parents[1]
LICENCE = "# SPDX-License-Identifier: Apache-2.0\n"


@dataclass(frozen=True)
class Contract:
    """What a shelf's `shape.py` asks of a plug-in.

    Attributes:
        name: Class of the contract.
        inherited: Whether plug-ins name it as their base: an ABC does, a Protocol does not.
        methods: What a plug-in must define.
        imports: Names that the methods' signatures use -> the line that imports them.
        lazy: The lines among `imports` that stand under TYPE_CHECKING.
    """

    name: str
    inherited: bool
    methods: tuple[ast.FunctionDef, ...]
    imports: dict[str, str]
    lazy: frozenset[str]


def contract_of(shelf: Shelf) -> Contract:
    """The contract of a shelf, read from its source.

    Raises:
        BadValue: If `shape.py` holds no ABC or Protocol.
    """
    tree = ast.parse((HOUSE / shelf.folder / "shape.py").read_text(encoding="utf-8"))
    for node in tree.body:
        bases = {ast.unparse(b) for b in node.bases} if isinstance(node, ast.ClassDef) else set()
        if isinstance(node, ast.ClassDef) and bases & {"ABC", "Protocol"}:
            inherited = "ABC" in bases
            functions = [
                n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
            ]
            asked = [
                f
                for f in functions
                if not inherited or "abstractmethod" in map(ast.unparse, f.decorator_list)
            ]
            imports, lazy = imports_of(tree)
            imports |= {name: f"from {shelf.package}.shape import {name}" for name in defined(tree)}
            return Contract(node.name, inherited, tuple(asked), imports, lazy)
    raise BadValue(f"{shelf.folder}/shape.py", "none", "one with an ABC or Protocol")


def imports_of(tree: ast.Module) -> tuple[dict[str, str], frozenset[str]]:
    """Imported name -> a line that imports only it; and the lines under TYPE_CHECKING."""
    lines: dict[str, str] = {}
    lazy: set[str] = set()
    for node in tree.body:
        later = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for one in node.body if isinstance(node, ast.If) else [node]:
            if not isinstance(one, ast.Import | ast.ImportFrom):
                continue
            for alias in one.names:
                start = f"from {one.module} import " if isinstance(one, ast.ImportFrom) else "import "
                line = start + ast.unparse(alias)
                lines[alias.asname or alias.name] = line
                if later:
                    lazy.add(line)
    return lines, frozenset(lazy)


def defined(tree: ast.Module) -> set[str]:
    """Names that a module gives to types of its own: classes, and aliases such as `Designs = NDArray[...]`."""
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    aliases = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return classes | aliases


def plugin_text(shelf: Shelf, card: Card) -> str:
    """The plug-in: card, a dataclass, and the contract's methods with nothing in them."""
    contract = contract_of(shelf)
    signatures = [method_text(m) for m in contract.methods]
    used = {n.id for m in contract.methods for n in ast.walk(m.args) if isinstance(n, ast.Name)}
    used |= {
        n.id for m in contract.methods if m.returns for n in ast.walk(m.returns) if isinstance(n, ast.Name)
    }
    quoted = " ".join(n.value for m in contract.methods for n in ast.walk(m) if is_text(n))
    used |= {name for name in contract.imports if name in quoted.replace(".", " ").split()}
    wanted = {contract.imports[name] for name in used if name in contract.imports}
    wanted |= {"from dataclasses import dataclass", "from typing import ClassVar"}
    wanted |= {"from edgeshift.core.card import Card"}
    if contract.inherited:
        wanted.add(f"from {shelf.package}.shape import {contract.name}")
    lazy = sorted(wanted & contract.lazy)
    if lazy:
        wanted.add("from typing import TYPE_CHECKING")
    base = f"({contract.name})" if contract.inherited else ""
    fields = "".join(f"        {k}={v!r},\n".replace("'", '"') for k, v in vars(card).items() if v)
    guard = "".join(["\nif TYPE_CHECKING:\n", *(f"    {line}\n" for line in lazy)]) if lazy else ""
    return (
        f'{LICENCE}"""{card.says}"""\n\n'
        + "\n".join(sorted(wanted - contract.lazy))
        + f"\n{guard}\n\n@dataclass(frozen=True)\nclass {class_name(card.name)}{base}:\n"
        + f'    """{card.says}"""\n\n'
        + f"    card: ClassVar[Card] = Card(\n{fields}    )\n\n"
        + "\n".join(signatures)
    )


def is_text(node: ast.AST) -> bool:
    """Whether a node is a string, such as a quoted annotation."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def method_text(method: ast.FunctionDef) -> str:
    """A method of the contract whose body says that it is not written."""
    returns = f" -> {ast.unparse(method.returns)}" if method.returns else ""
    mark = "    @property\n" if "property" in map(ast.unparse, method.decorator_list) else ""
    head = f"{mark}    def {method.name}({ast.unparse(method.args)}){returns}:\n"
    return f'{head}        """See the contract."""\n        raise NotImplementedError("{method.name}")\n'


def test_text(shelf: Shelf, name: str) -> str:
    """A test that fails until there is a fact to test."""
    cls = class_name(name)
    return (
        f"{LICENCE}import pytest\n\nfrom {shelf.package}.{name} import {cls}\n\n\n"
        f"def test_a_small_case_worked_out_by_hand() -> None:\n"
        f'    assert {cls}().card.name == "{name}"\n'
        f'    pytest.fail("write the answer down by hand and compare")\n'
    )


def write(folder: str, card: Card, root: Path) -> list[Path]:
    """Write both files below `root`; returns their paths.

    Raises:
        UnknownName: If there is no such shelf.
        BadValue: If the name is no plug-in name or is taken.
    """
    known = {s.folder: s for s in shelves()}
    if folder not in known:
        raise UnknownName("shelf", folder, known)
    shelf = known[folder]
    if not card.name.isidentifier() or card.name != card.name.lower() or card.name.startswith("_"):
        raise BadValue("name", card.name, "lower case letters, digits and _, starting with a letter")
    if card.name in shelf.names():
        raise BadValue("name", card.name, f"free in {folder}")
    files = {
        root / "src" / "edgeshift" / folder / f"{card.name}.py": plugin_text(shelf, card),
        root / "tests" / folder / f"test_{card.name}.py": test_text(shelf, card.name),
    }
    for path in files:
        if path.exists():
            raise BadValue("name", str(path), "free, without that file")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def main() -> int:
    """Exit code of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shelf", help="folder of the shelf, such as sparsity/criteria")
    parser.add_argument("name", help="file name without .py; also the command-line name")
    parser.add_argument("--says", required=True, help="one line: what the user gets")
    parser.add_argument("--paper", default="house rule", help="authors, venue and year")
    parser.add_argument("--link", default="", help="address of the paper")
    parser.add_argument(
        "--needs", default="nothing", choices=NEEDS, help="the most expensive thing it must be given"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        card = Card(asked.name, asked.says, asked.paper, asked.link, asked.needs)
        for path in write(asked.shelf, card, asked.root):
            print(f"written: {path.relative_to(asked.root)}")
    except EdgeShiftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("next: write the methods and the test, then `scripts/lint --fix` and `scripts/check`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
