# SPDX-License-Identifier: Apache-2.0
"""From a name or a path to a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeshift.core.errors import UnknownName
from edgeshift.core.registry import Shelf
from edgeshift.data.split import DataSet

SETS = Shelf("data set", "data/sets")


def open_set(source: str | Path, *, options: Mapping[str, Any] | None = None) -> DataSet:
    """A data set by name ("digits"), by folder of class folders, or by `.npz` file.

    Args:
        source: A name wins over a folder of the same name; write "./digits" for the folder.
        options: Fields of the plug-in that differ from its defaults.

    Raises:
        UnknownName: If it is no data set and no such file or folder exists.
        BadData: If it cannot be used; says what is wrong.
        BadValue: If there is no such option.
    """
    chosen = dict(options or {})
    name, path = str(source), Path(source)
    if name not in SETS.names():
        if path.is_dir():
            name, chosen["path"] = "image_folder", str(path)
        elif path.suffix == ".npz":
            name, chosen["path"] = "npz", str(path)
        else:
            raise UnknownName("data set, folder or .npz file", name, SETS.names())
    found: DataSet = SETS.make(name, **chosen).open()
    return found
