# SPDX-License-Identifier: Apache-2.0
"""The record of a claim: what was run, where, and every number that came out."""

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from os import getloadavg
from pathlib import Path
from typing import Any

from edgeshift.core.files import write_bytes, write_json
from edgeshift.devices.machine import describe_device, facts

RECORDS = Path(__file__).parent / "records"
PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "torch-pruning", "edgeshift")


@dataclass(frozen=True)
class Run:
    """How rows came about.

    Attributes:
        claim: Name of the folder of the record.
        says: What is measured, one sentence.
        threads: Of torch and ONNX Runtime.
        seeds: All seeds used.
        repeats: How often each time was taken, and in which order.
        spread: What the spread column means.
    """

    claim: str
    says: str
    threads: int = 1
    seeds: tuple[int, ...] = (0,)
    repeats: str = "once"
    spread: str = "none: counts, not times"


def environment(run: Run) -> dict[str, Any]:
    """Machine, versions, command and protocol, as JSON types."""
    cpu = facts(Path("/"))
    return {
        **asdict(run),
        "seeds": list(run.seeds),
        "command": command(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": describe_device(),
        "cpu_flags": sorted(cpu.get("flags", cpu.get("Features", "")).split()),
        "load_average": [round(x, 2) for x in getloadavg()],
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def command() -> str:
    """What was typed, from the repository's root."""
    spec = sys.modules["__main__"].__spec__
    start = ["python", "-m", spec.name] if spec is not None else ["python", Path(sys.argv[0]).name]
    return shlex.join([*start, *sys.argv[1:]])


def keep(run: Run, rows: Sequence[Mapping[str, Any]], findings: Sequence[str], root: Path = RECORDS) -> Path:
    """Write `card.md`, `rows.json` and `environment.json` of a claim.

    Args:
        run: How the rows came about.
        rows: JSON records, one per line of the table.
        findings: Sentences for the card, the ones that fall short too.
        root: Folder of all records.

    Returns:
        The folder of this one.
    """
    folder = root / run.claim
    around = environment(run)
    lines = [f"# {run.claim}", "", run.says, "", *(f"- {text}" for text in findings), ""]
    lines += [f"`{around['command']}`, {around['date']}, {around['machine']}, {run.threads} thread."]
    lines += [f"Repeats: {run.repeats}. Spread: {run.spread}. Load at the end: {around['load_average']}.", ""]
    write_json(folder / "rows.json", list(rows))
    write_json(folder / "environment.json", around)
    write_bytes(folder / "card.md", "\n".join(lines).encode())
    return folder


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A plain-text table of some columns; floats with four digits."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [columns, *cells]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
