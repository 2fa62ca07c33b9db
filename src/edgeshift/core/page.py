# SPDX-License-Identifier: Apache-2.0
"""HTML pages that hold their style and scripts and fetch nothing of others. Reports and the dashboard share it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files


def part(room: str, name: str) -> str:
    """The text of a package file of a room's page.

    Args:
        room: Such as "reports".
        name: File under its `page` folder.
    """
    return files(f"edgeshift.{room}").joinpath("page", name).read_text(encoding="utf-8")


def scripts(room: str, *names: str) -> str:
    """The elements that all pages use, then a room's own scripts, in that order."""
    elements = files("edgeshift.core").joinpath("elements.js").read_text(encoding="utf-8")
    return "\n".join((elements, *(part(room, name) for name in names)))


def fill(template: str, values: Mapping[str, str]) -> str:
    """`{{name}}` -> value, in one pass: a value that holds `{{...}}` stays as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def digest(text: str) -> str:
    """The hash by which a content policy allows an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
