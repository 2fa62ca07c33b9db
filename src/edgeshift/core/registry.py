# SPDX-License-Identifier: Apache-2.0
"""Plug-ins are files: this reads the folders, so that no list is kept by hand."""

import ast
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue, UnknownName

ROOT = Path(__file__).resolve().parents[1]
# Files in a plug-in folder that are the contract and its machinery, not plug-ins.
NOT_PLUGINS = ("__init__", "shape")


@dataclass(frozen=True)
class Shelf:
    """One folder of plug-ins.

    Attributes:
        noun: What one plug-in is called in messages, such as "criterion".
        folder: Path below the package, such as "sparsity/criteria".
    """

    noun: str
    folder: str

    @property
    def package(self) -> str:
        """Dotted name of the folder."""
        return "edgeshift." + self.folder.replace("/", ".")

    def names(self) -> list[str]:
        """File names without `.py`, sorted; files that start with `_` are private."""
        files = (ROOT / self.folder).glob("*.py")
        return sorted(f.stem for f in files if f.stem not in NOT_PLUGINS and not f.stem.startswith("_"))

    def find(self, name: str) -> type[Any]:
        """The plug-in class of that name; its module is imported.

        Raises:
            UnknownName: If the folder holds no such file.
        """
        if name not in self.names():
            raise UnknownName(self.noun, name, self.names())
        found: type[Any] = getattr(import_module(f"{self.package}.{name}"), class_name(name))
        return found

    def make(self, name: str, **options: Any) -> Any:
        """The plug-in with those options.

        Raises:
            UnknownName: If there is no such plug-in.
            BadValue: If it has no such option.
        """
        plugin = self.find(name)
        known = [f.name for f in fields(plugin)]
        for option in options:
            if option not in known:
                raise BadValue(f"option of {name}", option, f"one of {', '.join(known) or 'none'}")
        return plugin(**options)

    def cards(self) -> list[Card]:
        """Every card, read from source without importing the plug-ins."""
        return [read_card(ROOT / self.folder / f"{name}.py") for name in self.names()]


def class_name(name: str) -> str:
    """`iterative_magnitude` -> `IterativeMagnitude`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def read_card(path: Path) -> Card:
    """The `Card(...)` literal in a plug-in file, without running the file.

    Raises:
        BadValue: If the file holds no card.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Card":
            return Card(**{k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg})
    raise BadValue("plug-in file", str(path.name), "one with a `card`")


def shelves() -> list[Shelf]:
    """Every shelf of the house: each folder with a `shape.py` that names its noun."""
    found = []
    for shape in sorted(ROOT.glob("**/shape.py")):
        for node in ast.parse(shape.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "NOUN":
                found.append(Shelf(ast.literal_eval(node.value), shape.parent.relative_to(ROOT).as_posix()))
    return found
