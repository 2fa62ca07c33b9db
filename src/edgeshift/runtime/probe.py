# SPDX-License-Identifier: Apache-2.0
"""Small files of the kernel, read so that nothing in them can raise."""

import math
from collections.abc import Iterator
from pathlib import Path

# Files below /sys and /proc that hold one figure are far shorter.
MOST_BYTES = 4096


def text(path: Path) -> str | None:
    """What the file says, without the space around; None if it cannot be read or is no ASCII text."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def number(path: Path) -> float | None:
    """The finite number that the file holds, and nothing else; None without one."""
    return parsed(text(path))


def parsed(said: str | None) -> float | None:
    """The finite number that a text is; None if it is none, such as "1_0", "nan" or ""."""
    if not said or "_" in said:
        return None
    try:
        value = float(said)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def matching(root: Path, pattern: str) -> Iterator[Path]:
    """What there is below the root, sorted; nothing where a folder cannot be listed."""
    try:
        yield from sorted(root.glob(pattern))
    except OSError:
        return
