# SPDX-License-Identifier: Apache-2.0
"""The output folder: taken for a new build, or found again for one that goes on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeshift.core.errors import BadValue, FolderTaken
from edgeshift.core.recipe import Recipe
from edgeshift.core.values import ModelRef
from edgeshift.portfolio import Portfolio

# What a build needs to go on; not part of the portfolio.
WORK = "work"
LEVELS = "levels"
MANIFEST = "portfolio.json"
# How files in the making are called; a crash leaves them.
PART = ".part-"


def check_out(out: Path, *, resume: bool) -> None:
    """Nothing, if a build may write there; asked before any long work.

    Raises:
        FolderTaken: If it is a file, holds something else than a build, or a build that is not to be resumed.
    """
    if out.exists() and not out.is_dir():
        raise FolderTaken(f"out must be a folder, got the file {out}")
    held = sorted(p.name for p in out.iterdir() if not p.name.startswith(PART)) if out.exists() else []
    if not held or (MANIFEST in held and resume):
        return
    if MANIFEST in held:
        raise FolderTaken(f"out must be a new or empty folder, got a build in {out}; go on with --resume")
    raise FolderTaken(f"out must be a new or empty folder, got {out} with {held[0]!r} in it; choose another")


def claim(out: Path, ref: ModelRef, data: Mapping[str, Any], recipe: Recipe, *, resume: bool) -> Portfolio:
    """The portfolio to add to: a new one, or the one that an equal build began.

    Raises:
        FolderTaken: See `check_out`.
        BadValue: If the build to resume was asked for something else; names the first option that differs.
        BadPortfolio: If the build to resume cannot be trusted.
    """
    check_out(out, resume=resume)
    if (out / MANIFEST).exists():
        begun = Portfolio.open(out).recipe
        for name in sorted({*recipe.options, *begun}):
            asked, was = recipe.options.get(name), begun.get(name)
            if asked != was:
                raise BadValue(f"{name} of the build in {out}", asked, f"{was!r} as when it began")
    return Portfolio.create(out, ref, data, recipe.options)


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """A folder for files in the making, on the disk of `out`, gone afterwards."""
    (out / WORK).mkdir(exist_ok=True)
    with TemporaryDirectory(dir=out / WORK, prefix=PART) as folder:
        yield Path(folder)
