# SPDX-License-Identifier: Apache-2.0
"""Writes docs/MAP.md and a page per plug-in from cards, docstrings and the room table. Imports no plug-in.

python scripts/docs.py            write what changed, remove pages without a plug-in
python scripts/docs.py --check    write nothing; exit 1 and name the files that are out of date
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from edgeshift.core.card import Card
from edgeshift.core.registry import ROOT as HOUSE
from edgeshift.core.registry import Shelf, class_name, read_card, shelves

ROOT = Path(__file__).resolve().parents[1]
PAGES = "docs/methods"
WRITTEN = "<!-- Written by scripts/docs.py; change the source and run `make docs`. -->\n"


def pages() -> dict[str, str]:
    """Path from the repository's root -> text, for every generated page."""
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["edgeshift"]["rooms"]
    found = {"docs/MAP.md": map_page(rooms)}
    for shelf in shelves():
        for name in shelf.names():
            found[page_path(shelf, name)] = plugin_page(shelf, name)
    return found


def page_path(shelf: Shelf, name: str) -> str:
    """Where the page of a plug-in lies."""
    return f"{PAGES}/{shelf.folder}/{name}.md"


def map_page(rooms: Mapping[str, list[str]]) -> str:
    """Rooms by floor, then every shelf with its plug-ins."""
    lines = [
        WRITTEN,
        "# Map",
        "",
        "A room imports only the rooms behind it. A plug-in is one file on a shelf.",
        "",
    ]
    lines += ["| floor | room | what happens there | may import |", "|---|---|---|---|"]
    floors = floors_of(rooms)
    for room in sorted(rooms, key=lambda r: (floors[r], list(rooms).index(r))):
        door = HOUSE / room / "__init__.py"
        says = first_line(door) if door.exists() else "not built"
        lines.append(f"| {floors[room]} | `{room}` | {cell(says)} | {', '.join(rooms[room]) or '-'} |")
    for shelf in shelves():
        shape = HOUSE / shelf.folder / "shape.py"
        lines += ["", f"## {shelf.noun} (`{shelf.folder}`)", "", first_line(shape), ""]
        lines += ["| name | what you get | needs | source |", "|---|---|---|---|"]
        for name in shelf.names():
            card = read_card(HOUSE / shelf.folder / f"{name}.py")
            link = page_path(shelf, name).removeprefix("docs/")
            lines.append(f"| [{name}]({link}) | {cell(card.says)} | {card.needs} | {cell(source(card))} |")
    return "\n".join(lines) + "\n"


def floors_of(rooms: Mapping[str, list[str]]) -> dict[str, int]:
    """Room -> one more than the highest room it may import."""
    floors: dict[str, int] = {}
    for room in rooms:
        floors[room] = 1 + max((floors[below] for below in rooms[room]), default=-1)
    return floors


def plugin_page(shelf: Shelf, name: str) -> str:
    """Card, docstring and options of one plug-in."""
    file = HOUSE / shelf.folder / f"{name}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    plugin = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name(name))
    card = read_card(file)
    text, own = split_docstring(ast.get_docstring(plugin) or "")
    meanings = {**borrowed(shelf, text), **own}
    lines = [WRITTEN, f"# {name}", "", card.says, ""]
    lines += [f"- {shelf.noun}, `src/edgeshift/{shelf.folder}/{name}.py`", f"- needs: {card.needs}"]
    lines += [f"- source: {source(card)}", "", ast.get_docstring(tree) or "", "", text, "", "## Options", ""]
    options = [(o.target.id, o) for o in plugin.body if isinstance(o, ast.AnnAssign) and is_option(o)]
    if not options:
        return "\n".join([*lines, "None."]) + "\n"
    lines += ["| option | type | default | meaning |", "|---|---|---|---|"]
    for option, node in options:
        default = ast.unparse(node.value) if node.value else "required"
        kind, meaning = ast.unparse(node.annotation), meanings.get(option, "")
        lines.append(f"| `{option}` | `{cell(kind)}` | `{cell(default)}` | {cell(meaning)} |")
    return "\n".join(lines) + "\n"


def borrowed(shelf: Shelf, text: str) -> dict[str, str]:
    """Meanings of fields shared with the contract, or with a class that the docstring names."""
    found: dict[str, str] = {}
    named = re.findall(r"`edgeshift\.(\w+)\.(\w+)`", text)
    files = [(f, name) for room, name in named for f in sorted((HOUSE / room).rglob("*.py"))]
    for file, name in [*files, (HOUSE / shelf.folder / "shape.py", "")]:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == (name or node.name):
                found |= split_docstring(ast.get_docstring(node) or "")[1]
    return found


def is_option(node: ast.AnnAssign) -> bool:
    """Whether an annotated name in a class is a field of the dataclass."""
    return isinstance(node.target, ast.Name) and "ClassVar" not in ast.unparse(node.annotation)


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The prose of a Google-style docstring, and its `Attributes:` as name -> meaning."""
    prose, _, rest = text.partition("Attributes:\n")
    meanings: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if line.startswith("    ") and not line.startswith("     ") and ":" in line:
            name, _, meaning = line.strip().partition(":")
            meanings[name] = meaning.strip()
        elif name and line.strip():
            meanings[name] += " " + line.strip()
    return prose.strip(), meanings


def source(card: Card) -> str:
    """The paper, linked where it has an address."""
    return f"[{card.paper}]({card.link})" if card.link else card.paper


def first_line(file: Path) -> str:
    """The first line of a file's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def cell(text: str) -> str:
    """Text that does not end a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def differences() -> dict[str, str | None]:
    """Path -> its text where the file differs; None where a page has no plug-in."""
    wanted = pages()
    changed: dict[str, str | None] = {}
    for path, text in wanted.items():
        file = ROOT / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            changed[path] = text
    for file in sorted((ROOT / PAGES).rglob("*.md")):
        path = file.relative_to(ROOT).as_posix()
        if path not in wanted:
            changed[path] = None
    return changed


def main() -> int:
    """Exit code: 1 if `--check` found a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 if something is out of date"
    )
    check = parser.parse_args().check
    changed = differences()
    for path, text in changed.items():
        print(f"{'out of date' if check else 'removed' if text is None else 'written'}: {path}")
        if check:
            continue
        file = ROOT / path
        if text is None:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
