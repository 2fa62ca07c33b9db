# SPDX-License-Identifier: Apache-2.0
"""A plan for each device of a fleet, streamed; and the fewest variants that serve them all."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData, BadValue, FolderTaken
from edgeshift.core.files import read_json, write_json
from edgeshift.core.plan_file import Plan, write_plan
from edgeshift.core.progress import Progress, Silent, Step
from edgeshift.core.values import Variant
from edgeshift.plan.figures import of_portfolio
from edgeshift.plan.fleet_rows import Header, Rows, header, pieces
from edgeshift.plan.limits import Limit
from edgeshift.plan.margin import MULTIPLE
from edgeshift.plan.ship import VARIANTS, Shipped, ship
from edgeshift.plan.spaces.shape import Floats
from edgeshift.portfolio import Portfolio
from edgeshift.portfolio.manifest import digest

JOURNAL, PICKS, PLAN = "journal.json", "picks.csv", "plan.json"
COLUMNS = "device,variant,name,accuracy,loss,broken\n"


@dataclass(frozen=True)
class Wanted:
    """What is asked of a fleet's plan.

    Attributes:
        loss: Mean accuracy that a device may lose against its own best variant, 0..1.
        multiple: Deviations of margin on predicted times; a device's `error` column is one deviation.
    """

    loss: float = 0.003
    multiple: float = MULTIPLE

    def check(self) -> "Wanted":
        """Self, or BadValue."""
        if not 0 <= self.loss <= 1:
            raise BadValue("loss", self.loss, "0..1, a share: 0.003 is 0.3 points")
        if not self.multiple >= 0:
            raise BadValue("multiple", self.multiple, "0 or more")
        return self


@dataclass(frozen=True)
class FleetPlan:
    """What was planned.

    Attributes:
        rows: Devices.
        unmet: Devices whose limits no variant keeps; each has the nearest one, and is marked.
        variants: Ids to ship, the most accurate first.
        mean_loss: Accuracy lost against each device's own best variant, 0..1.
        worst_loss: The most any device loses.
        smallest: Whether no smaller set keeps the loss.
        profiles: How many groups of devices that can run the same variants there are.
        devices: Id -> devices that run it.
    """

    rows: int
    unmet: int
    variants: tuple[str, ...]
    mean_loss: float
    worst_loss: float
    smallest: bool
    profiles: int
    devices: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Journal:
    """How far a plan is, so that a stopped one goes on. Written whole after each piece."""

    fleet: str
    portfolio: str
    wanted: dict[str, float]
    stage: int = 1
    read: int = 0
    written: int = 0
    rows: int = 0
    profiles: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)


def plan_fleet(
    portfolio: Portfolio, rows: Path, out: Path, wanted: Wanted = Wanted(), progress: Progress | None = None
) -> FleetPlan:
    """Plan every row of a CSV file; writes `picks.csv` (a row a device) and `plan.json` (what to ship) to a folder.

    The file is read twice, a piece at a time: first to count which variants fit which devices, then, with the set to
    ship known, to write each device's pick from it. Memory does not grow with the rows, only with the number of
    distinct sets of variants that fit. Stopped at any point, a second call goes on.

    Columns: `device`; limits named as in `edgeshift.plan.limits` (`latency_ms`, `p95_ms@batch=32`, `memory_bytes`,
    `size_bytes`, `accuracy`), empty = none; and what the device is: `speed` over the portfolio's machine, or
    `macs_per_ms`, `bytes_per_ms` and `overhead_ms` for a modelled time; `clock`; `error`, the deviation of the log
    of a predicted time.

    Args:
        portfolio: At most 64 variants, measured.
        rows: The CSV file.
        out: Folder; made if absent.
        wanted: Loss and margin.
        progress: Who listens.

    Raises:
        BadData: If the file cannot be used; the message names the row.
        FolderTaken: If the folder holds the plan of something else.
        BadValue: If no device can be served.
    """
    progress, wanted = progress or Silent(), wanted.check()
    if len(portfolio) > VARIANTS:
        raise BadValue("variants of a fleet's portfolio", len(portfolio), f"at most {VARIANTS}")
    head = header(rows)
    table = _Table.of(portfolio.variants, head)
    out.mkdir(parents=True, exist_ok=True)
    journal = _opened(out, rows, portfolio, wanted)
    size = rows.stat().st_size
    with progress.task("plan the fleet", 2 * size) as step:
        step(journal.read + (journal.stage - 1) * size)
        if journal.stage == 1:
            at = journal.read or head.start
            for piece in pieces(rows, head, at, journal.rows):
                for mask, count in zip(
                    *np.unique(table.masks(piece, wanted), return_counts=True), strict=True
                ):
                    journal.profiles[str(mask)] = journal.profiles.get(str(mask), 0) + int(count)
                step(piece.end - at)
                at = journal.read = piece.end
                journal.rows += len(piece.devices)
                _save(out, journal)
            journal.stage, journal.read, journal.rows = 2, 0, 0
            _save(out, journal)
        profiles = {int(mask): count for mask, count in journal.profiles.items()}
        if not profiles:
            raise BadData(f"{rows} must hold at least one device, got none")
        shipped = ship(profiles, table.accuracy, wanted.loss)
        _write(rows, head, table, shipped, wanted, out, journal, step)
    found = FleetPlan(
        sum(profiles.values()), profiles.get(0, 0), tuple(table.ids[i] for i in shipped.places),
        shipped.mean_loss, shipped.worst_loss, shipped.smallest, len(profiles), dict(journal.used),
    )  # fmt: skip
    says = (
        f"{found.rows} devices, {found.unmet} of them with limits that no variant keeps.",
        f"{len(found.variants)} variants; a device loses {100 * found.mean_loss:.3f} points in the mean.",
    )
    write_plan(out / PLAN, Plan((), found.variants, digest(portfolio.manifest.body()), "ship", says))
    return found


def _write(
    rows: Path,
    head: Header,
    table: "_Table",
    shipped: Shipped,
    wanted: Wanted,
    out: Path,
    journal: _Journal,
    step: Step,
) -> None:
    """Second reading: each device's pick among the shipped variants."""
    path = out / PICKS
    with path.open("r+b" if path.exists() and journal.written else "wb") as file:
        if journal.written:
            file.truncate(journal.written)
            file.seek(journal.written)
        else:
            file.write(COLUMNS.encode())
        at = journal.read or head.start
        for piece in pieces(rows, head, at, journal.rows):
            text, counts = table.picks(piece, wanted, shipped)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            for name, count in counts.items():
                journal.used[name] = journal.used.get(name, 0) + count
            step(piece.end - at)
            at = journal.read = piece.end
            journal.rows += len(piece.devices)
            journal.written = file.tell()
            _save(out, journal)


@dataclass(frozen=True)
class _Table:
    """The variants' figures as arrays, per column of limits."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    accuracy: Floats
    columns: dict[str, Floats]
    limits: dict[str, Limit]
    macs: Floats
    size: Floats

    @staticmethod
    def of(variants: tuple[Variant, ...], head: Header) -> "_Table":
        """Raises BadValue if a variant lacks a figure that a column asks for."""
        figures = of_portfolio(variants, list(head.limits.values()))
        columns = {name: figures.figures[limit].value for name, limit in head.limits.items()}
        return _Table(
            tuple(v.id for v in variants), tuple(v.name for v in variants), figures.gains, columns, head.limits,
            np.array([float(v.macs) for v in variants]),
            np.array([_stored(v) for v in variants]),
        )  # fmt: skip

    def excess(self, piece: Rows, wanted: Wanted) -> Floats:
        """`(n, v)`: how far over its limits each device is with each variant, summed as shares; 0 = inside."""
        n, f = len(piece.devices), piece.features
        total = np.zeros((n, len(self.ids)))
        guard = np.exp(wanted.multiple * f["error"]) / f["clock"]
        modelled = ~np.isnan(f["macs_per_ms"])
        moved = np.where(np.isnan(f["bytes_per_ms"]), 0.0, 1 / f["bytes_per_ms"])
        for name, limit in self.limits.items():
            bound, own = piece.bounds[name], self.columns[name]
            if limit.floor:
                over = (bound[:, None] - own) / bound[:, None]
            elif limit.quantity in ("latency", "p95"):
                slower = guard / f["speed"]
                time = slower[:, None] * own
                if modelled.any():
                    work = self.macs / f["macs_per_ms"][modelled, None] + self.size * moved[modelled, None]
                    time[modelled] = guard[modelled, None] * (f["overhead_ms"][modelled, None] + work)
                over = time / bound[:, None] - 1
            else:
                over = own / bound[:, None] - 1
            over[np.isnan(bound)] = 0
            total += np.maximum(over, 0)
        return total

    def masks(self, piece: Rows, wanted: Wanted) -> NDArray[np.uint64]:
        """`(n,)`: bit i = variant i keeps all limits."""
        return _bits(self.excess(piece, wanted) == 0)

    def picks(self, piece: Rows, wanted: Wanted, shipped: Shipped) -> tuple[str, dict[str, int]]:
        """Lines of the picks, and how many devices run each variant."""
        excess = self.excess(piece, wanted)
        fits = excess == 0
        places = np.array(shipped.places)
        own = np.where(fits, self.accuracy, -np.inf).max(1)
        best = places[np.where(fits[:, places], self.accuracy[places], -np.inf).argmax(1)]
        nothing = ~fits[:, places].any(1)
        best[nothing] = places[excess[:, places].argmin(1)[nothing]]
        lost = np.where(np.isinf(own), np.nan, own - self.accuracy[best])
        shown = [
            f"{i},{n},{a:.6g}"
            for i, n, a in zip(self.ids, map(_cell, self.names), self.accuracy, strict=True)
        ]
        lines = [
            f"{_cell(device)},{shown[k]},{f'{x:.6g}' if x == x else ''},{'limits' if none else ''}"
            for device, k, x, none in zip(
                piece.devices, best.tolist(), lost.tolist(), nothing.tolist(), strict=True
            )
        ]
        counts = np.bincount(best, minlength=len(self.ids))
        return "\n".join(lines) + "\n", {self.ids[i]: int(c) for i, c in enumerate(counts) if c}


def _stored(variant: Variant) -> float:
    """Bytes of the file that is opened, or measured; 0 where neither is known: only modelled times ask."""
    if "onnx" in variant.files:
        return float(variant.files["onnx"].size_bytes)
    return next((m.value for m in variant.measurements if m.quantity == "file_size"), 0.0)


def _bits(fits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    wide = np.zeros((len(fits), VARIANTS), bool)
    wide[:, : fits.shape[1]] = fits
    return np.packbits(wide, axis=1, bitorder="little").view("<u8")[:, 0].astype(np.uint64)


def _cell(text: str) -> str:
    """A CSV cell, in quotes where it needs them."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


def _opened(out: Path, rows: Path, portfolio: Portfolio, wanted: Wanted) -> _Journal:
    """The journal of the same question, or a fresh one in a folder that has none."""
    facts = rows.stat()
    fresh = _Journal(
        f"{rows.name} {facts.st_size} {facts.st_mtime_ns}", digest(portfolio.manifest.body()), asdict(wanted)
    )
    if not (out / JOURNAL).exists():
        foreign = sorted(p.name for p in out.iterdir() if p.name in (PICKS, PLAN))
        if foreign:
            raise FolderTaken(f"{out} must hold no other plan, got {foreign[0]!r}; choose another --out")
        return fresh
    found = _Journal(**read_json(out / JOURNAL))
    if (found.fleet, found.portfolio, found.wanted) != (fresh.fleet, fresh.portfolio, fresh.wanted):
        raise FolderTaken(
            f"{out} must hold the plan of the same fleet and portfolio, got another; choose another --out"
        )
    return found


def _save(out: Path, journal: _Journal) -> None:
    write_json(out / JOURNAL, json.loads(json.dumps(asdict(journal))))
