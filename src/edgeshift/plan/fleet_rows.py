# SPDX-License-Identifier: Apache-2.0
"""A fleet as a CSV file, read in pieces: one row a device, with its speed and its limits."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeshift.core.errors import BadData
from edgeshift.plan.limits import COLUMNS, Limit, parse
from edgeshift.plan.spaces.shape import Floats

# Columns that describe a device; what is empty or absent has the value given here.
FEATURES = {
    "speed": 1.0,
    "clock": 1.0,
    "macs_per_ms": np.nan,
    "bytes_per_ms": np.nan,
    "overhead_ms": 0.0,
    "error": 0.0,
}
# Bytes read at once, about 4,000 rows: their numbers stay in a core's cache. With 4 MiB a row took 1.7 times as long
# in a file of many pieces as in a file of one (bench/records/plan_fleet).
PIECE = 1 << 18
# Columns of shares, at most 1, and what of; the others must be above 0 and finite.
SHARES = {"clock": "a share of the highest", "accuracy": "a share, not a percentage"}


@dataclass(frozen=True)
class Header:
    """The columns of a fleet file.

    Attributes:
        names: All of them, in order.
        limits: Column -> its limit with the value 1: quantity and operating point.
        start: Byte where the first row begins.
    """

    names: tuple[str, ...]
    limits: dict[str, Limit]
    start: int


@dataclass(frozen=True)
class Rows:
    """Some rows.

    Attributes:
        devices: Names.
        features: Feature -> `(n,)`; see `FEATURES`.
        bounds: Column of a limit -> `(n,)`, in its own unit; NaN = none.
        first: Rows before these, the header not counted.
        end: Byte behind the last row.
    """

    devices: list[str]
    features: dict[str, Floats]
    bounds: dict[str, Floats]
    first: int
    end: int


def header(path: Path) -> Header:
    """What the first line says.

    Raises:
        BadData: If there is no file, it is not UTF-8, has no `device` column, a column twice, or an unknown one.
    """
    if not path.is_file():
        raise BadData(f"fleet must be a CSV file, got {path}")
    with path.open("rb") as file:
        line = file.readline()
    names = [n.strip() for n in next(csv.reader([_text(path, line).removeprefix("\ufeff").strip()]), [])]
    if "device" not in names or len(set(names)) != len(names):
        raise BadData(f"columns of {path} must be distinct and hold device, got {names}")
    limits = {}
    for name in names:
        quantity = name.partition("@")[0].strip()
        if quantity in COLUMNS:
            sign, point = (">=" if quantity == "accuracy" else "<="), name.partition("@")
            limits[name] = parse(f"{quantity}{sign}1{point[1]}{point[2]}")[0]
        elif name != "device" and name not in FEATURES:
            known = ", ".join(["device", *FEATURES, *COLUMNS])
            raise BadData(f"column of {path} must be one of {known}, got {name!r}")
    if not limits:
        raise BadData(f"columns of {path} must hold at least one limit such as latency_ms, got {names}")
    return Header(tuple(names), limits, len(line))


def pieces(path: Path, head: Header, start: int, first: int) -> Iterator[Rows]:
    """The rows from a byte on, some ten thousand at a time.

    Raises:
        BadData: If a row is malformed or a number is none; the message names the row.
    """
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(PIECE):
            piece += file.readline()
            found = _rows(path, head, piece, first, file.tell())
            if found.devices:
                yield found
            first += len(found.devices)


def _rows(path: Path, head: Header, piece: bytes, first: int, end: int) -> Rows:
    lines = [line for line in _text(path, piece).split("\n") if line.strip()]
    cells = list(csv.reader(lines))
    width = len(head.names)
    for i, row in enumerate(cells):
        if len(row) != width:
            raise BadData(f"row {first + i + 1} of {path} must have {width} cells, got {len(row)}: {row}")
    columns = dict(zip(head.names, zip(*cells, strict=True) if cells else [()] * width, strict=True))
    devices = columns["device"]

    def refuse(name: str, place: int, want: str) -> BadData:
        where = f"device {devices[place]!r}, row {first + place + 1} of {path},"
        return BadData(f"{name} of {where} must be {want}, got {columns[name][place]!r}")

    def numbers(name: str, usual: float) -> Floats:
        if name not in columns:
            return np.full(len(cells), usual)
        texts = columns[name]
        try:
            values = np.array([t or usual for t in texts], float)
        except ValueError:
            place = next(i for i, t in enumerate(texts) if t and not _is_number(t))
            raise refuse(name, place, "a number") from None
        kind = SHARES.get(name.partition("@")[0].strip())
        good = ((values > 0) | ((values == 0) & (usual == 0))) & np.isfinite(values)
        if kind:
            good &= values <= 1
        good |= [not t for t in texts]
        if not good.all():
            want = f"above 0 and at most 1, {kind}" if kind else "above 0 and finite"
            raise refuse(name, int((~good).argmax()), want)
        return values

    if not all(devices):
        raise BadData(f"device in row {first + devices.index('') + 1} of {path} must have a name, got ''")
    features = {name: numbers(name, usual) for name, usual in FEATURES.items()}
    bounds = {name: numbers(name, np.nan) for name in head.limits}
    return Rows(list(devices), features, bounds, first, end)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadData(f"{path} must be UTF-8 text, got the byte {data[error.start]:#04x}") from error
