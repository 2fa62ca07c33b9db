# SPDX-License-Identifier: Apache-2.0
"""Where the user keeps downloaded data sets."""

import os
from pathlib import Path

from edgeshift.core.errors import BadData

VARIABLE = "EDGESHIFT_DATA"


def set_folder(given: str, name: str, holds: str) -> Path:
    """The folder of one data set: the given one, or its own below EDGESHIFT_DATA.

    Args:
        given: Folder the user named, or empty.
        name: Folder below EDGESHIFT_DATA, such as "cifar10".
        holds: Files to expect there, for the message.

    Raises:
        BadData: If there is no such folder.
    """
    if given:
        if not Path(given).is_dir():
            raise BadData(f"folder of {name} must hold {holds}, got {given}, which does not exist")
        return Path(given)
    root = os.environ.get(VARIABLE, "")
    if not root or not (Path(root) / name).is_dir():
        raise BadData(
            f"{VARIABLE} must name a folder with {name}/ that holds {holds}, got {root or 'nothing'}"
        )
    return Path(root) / name
