# SPDX-License-Identifier: Apache-2.0
"""Several methods on one model under equal epochs, seeds and splits, in a pool of processes."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from edgeshift.core.errors import BadValue, EdgeShiftError, FolderTaken, NotExact
from edgeshift.core.files import read_json, write_json
from edgeshift.core.progress import Progress, Silent
from edgeshift.derive.choices import flat
from edgeshift.derive.folder import LEVELS, WORK
from edgeshift.derive.job import Job
from edgeshift.derive.line import build
from edgeshift.formats import open_onnx
from edgeshift.measure import Protocol, latencies
from edgeshift.portfolio import Portfolio
from edgeshift.train import METHODS

RECORD, RUNS, SCRATCH = "comparison.json", "runs", "scratch"


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        job: What all runs share; its `out` is the folder of the comparison, its method is not used.
        methods: Names of training methods; the first is the baseline of the report.
        seeds: Every method runs once with each.
        options: Method -> its options, JSON values.
        workers: Runs at a time.
        scratch: Also train every architecture that was found from random weights.
    """

    job: Job
    methods: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workers: int = 1
    scratch: bool = False

    def check(self) -> "Comparison":
        """Self, or the first error: a name, option or number that cannot be."""
        self.job.check()
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise BadValue("methods", self.methods, "at least one, each once")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise BadValue("seeds", self.seeds, "at least one, each once")
        if self.workers < 1:
            raise BadValue("workers", self.workers, "at least 1")
        for method in self.options:
            if method not in self.methods:
                raise BadValue(
                    "option of a method", method, f"of one that is compared: {', '.join(self.methods)}"
                )
        for method in self.methods:
            METHODS.make(method, **self.options.get(method, {}))
        return self

    def runs(self) -> tuple["Entry", ...]:
        """One per method and seed."""
        return tuple(Entry(method, seed) for method in self.methods for seed in self.seeds)

    def job_of(self, entry: "Entry") -> Job:
        """The build of one entry."""
        options = dict(self.options.get(entry.method, {}))
        if entry.twin:
            found = self.job.out / RUNS / replace(entry, twin=False).name / WORK / LEVELS
            options = {"found": str(found)}
        return replace(
            self.job,
            out=self.job.out / RUNS / entry.name,
            method=SCRATCH if entry.twin else entry.method,
            method_options=options,
            seed=entry.seed,
            resume=True,
            quick=True,
        )


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        method: Name of the method.
        seed: Of weights, order and augmentation.
        twin: The method's architectures trained from random weights, instead of the method itself.
    """

    method: str
    seed: int
    twin: bool = False

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.method}-{self.seed}{'-scratch' if self.twin else ''}"


def compare(comparison: Comparison, progress: Progress | None = None) -> dict[Entry, Portfolio]:
    """A portfolio for each method and seed, all measured in turns.

    Killed at any moment and called again, it goes on where it was.

    Args:
        comparison: What to compare.
        progress: Who is told how far it is.

    Returns:
        Portfolios in the order of methods and seeds, scratch twins behind their originals.

    Raises:
        FolderTaken: If the folder holds another comparison or something else.
        EdgeShiftError: What the first run that failed said; the others are finished first.
    """
    progress = progress or Silent()
    claim(comparison.check())
    entries = comparison.runs()
    run_all(comparison, entries, progress)
    if comparison.scratch:
        twins = tuple(replace(entry, twin=True) for entry in entries)
        run_all(comparison, twins, progress)
        entries = tuple(e for pair in zip(entries, twins, strict=True) for e in pair)
    found = {entry: Portfolio.open(comparison.job_of(entry).out) for entry in entries}
    return measured(comparison.job.out, found, progress)


def claim(comparison: Comparison) -> None:
    """Take the folder, or find the same comparison in it."""
    out, job = comparison.job.out, comparison.job
    asked = flat(
        {
            "model": job.model,
            "data": job.data,
            "weights": str(job.weights or ""),
            "levels": list(job.levels),
            "epochs": job.epochs,
            "settings": job.settings,
            "training": dict(job.train_options),
            "model_options": dict(job.model_options),
            "multiple": job.multiple,
            "options": {name: dict(options) for name, options in comparison.options.items()},
        }
    )
    if (out / RECORD).exists():
        begun = read_json(out / RECORD)
        for name in sorted({*asked, *begun}):
            # More methods and seeds may be asked of it later, and their options.
            if asked.get(name) != begun.get(name) and not name.startswith("options."):
                raise BadValue(
                    f"{name} of the comparison in {out}", asked.get(name), f"{begun.get(name)!r} as before"
                )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderTaken(f"out must be a new or empty folder or a comparison, got {out}; choose another")
    write_json(out / RECORD, asked)


def run_all(comparison: Comparison, entries: tuple[Entry, ...], progress: Progress) -> None:
    """Build every entry, `workers` at a time; fails once all others are done."""
    failed: dict[str, EdgeShiftError] = {}
    with progress.task(f"{len(entries)} runs", len(entries)) as step:
        for entry, error in finished(comparison, entries):
            if error is not None:
                failed[entry.name] = error
            progress.say(f"{entry.name}: {error or 'done'}")
            step(note=entry.name)
    if failed:
        name, error = next(iter(failed.items()))
        more = f"; {len(failed) - 1} more runs failed" if len(failed) > 1 else ""
        kind = NotExact if error.exit_code == NotExact.exit_code else EdgeShiftError
        raise kind(f"{name}: {error}{more}")


def finished(
    comparison: Comparison, entries: tuple[Entry, ...]
) -> Iterator[tuple[Entry, EdgeShiftError | None]]:
    """Entries as they finish, with what went wrong; in this process where one worker is enough."""
    if comparison.workers == 1:
        for entry in entries:
            yield entry, attempt(comparison.job_of(entry))
        return
    # Fresh processes: torch's threads do not survive a fork.
    with ProcessPoolExecutor(comparison.workers, get_context("spawn")) as pool:
        tasks = {pool.submit(attempt, comparison.job_of(entry)): entry for entry in entries}
        for task in as_completed(tasks):
            yield tasks[task], task.result()


def attempt(job: Job) -> EdgeShiftError | None:
    """Build; what went wrong on purpose, as one that can be sent between processes."""
    try:
        build(job)
    except NotExact as error:
        return NotExact(str(error))
    except EdgeShiftError as error:
        return EdgeShiftError(str(error))
    return None


def measured(out: Path, found: Mapping[Entry, Portfolio], progress: Progress) -> dict[Entry, Portfolio]:
    """The portfolios, the latency of all variants measured in turns; not again if nothing was added since."""
    portfolios, done = dict(found), out / "measured.json"
    ids = {entry.name: [v.id for v in portfolio] for entry, portfolio in found.items()}
    if done.exists() and read_json(done) == ids:
        return portfolios
    sessions = [open_onnx(p.onnx(v), 1) for p in found.values() for v in p]
    example = np.random.default_rng(0).standard_normal((1, *sessions[0].input_shape), dtype=np.float32)
    with progress.task(f"latency of {len(sessions)} variants in turns", 1) as step:
        timed = iter(latencies(sessions, example, 1, Protocol()))
        step()
    for entry, portfolio in found.items():
        for variant in portfolio.variants:
            portfolios[entry] = portfolios[entry].remeasured(variant, (next(timed),))
    write_json(done, ids)
    return portfolios
