# SPDX-License-Identifier: Apache-2.0
"""What the training figures share: a build, its rows, and the portfolios that are kept beside a record."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.record import RECORDS
from edgeshift.core.files import read_json
from edgeshift.core.progress import Silent
from edgeshift.core.recipe import Recipe
from edgeshift.core.values import Variant
from edgeshift.data import open_set
from edgeshift.derive.folder import claim
from edgeshift.derive.job import Job
from edgeshift.derive.judge import Judge
from edgeshift.derive.line import beginning, build, facts, keep, name_of, reference
from edgeshift.derive.nested import nest
from edgeshift.derive.parent import Parent
from edgeshift.portfolio import Draft, Portfolio
from edgeshift.train.checkpoint import Folder

# Of all portfolios kept under bench/records together.
MOST_BYTES = 25_000_000


def built(out: Path, model: str, method: str, options: Mapping[str, Any], **job: Any) -> Portfolio:
    """The portfolio of one build; goes on where a stopped one was."""
    return build(Job(model=model, out=out, method=method, method_options=options, resume=True, **job))


def row(name: str, variant: Variant, dense: Variant) -> dict[str, Any]:
    """One variant against the dense network of the same record."""
    latency = variant.measured("latency")
    return {
        "run": name,
        "variant": variant.name,
        "test": variant.accuracy["test"],
        "validation": variant.accuracy["validation"],
        "lost_points": round(100 * (dense.accuracy["test"] - variant.accuracy["test"]), 2),
        "parameters": variant.parameters,
        "fewer_parameters": round(dense.parameters / variant.parameters, 3),
        "macs": variant.macs,
        "fewer_macs": round(dense.macs / variant.macs, 3),
        "latency_ms": latency.value,
        "latency_spread": latency.spread,
        "faster": round(dense.measured("latency").value / latency.value, 3),
        "proof": variant.proof.max_error_float64,
    }


def rows_of(name: str, portfolio: Portfolio) -> list[dict[str, Any]]:
    """All variants of a portfolio, against its first."""
    return [row(name, v, portfolio.variants[0]) for v in portfolio]


def within(rows: Sequence[Mapping[str, Any]], points: float) -> list[Mapping[str, Any]]:
    """Rows that lose at most that many points of validation accuracy; test accuracy does not choose."""
    best = rows[0]["validation"]
    return [r for r in rows if 100 * (best - r["validation"]) <= points]


def export(portfolio: Portfolio, claim: str, names: Sequence[str]) -> Path:
    """Keep some variants beside a record: manifest, ONNX file and answers, without the training weights.

    Raises:
        SystemExit: If all portfolios kept there would pass `MOST_BYTES`.
    """
    target = RECORDS / claim / "portfolio"
    shutil.rmtree(target, ignore_errors=True)
    small = Portfolio.create(target, portfolio.model, portfolio.data, portfolio.recipe)
    for name in names:
        v = portfolio.find(name)
        draft = Draft(
            name=v.name,
            recipe=v.recipe,
            accuracy=v.accuracy,
            parameters=v.parameters,
            macs=v.macs,
            sparsity=v.sparsity,
            widths=v.widths,
            measurements=v.measurements,
            proof=v.proof,
        )
        small = small.add(draft, {role: portfolio.path_of(v, role) for role in ("onnx", "golden", "log")})
    return small_enough(target)


def export_nested(portfolio: Portfolio, out: Path, claim: str) -> Path:
    """Keep all variants beside a record, in one file that holds the weights they share once; see `export`."""
    shutil.rmtree(out, ignore_errors=True)
    nest(portfolio, out)
    target = RECORDS / claim / "portfolio"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(out, target)
    return small_enough(target)


def small_enough(target: Path) -> Path:
    """The portfolio itself; it is removed, and the run ends, if all that are kept pass `MOST_BYTES`."""
    kept = sum(p.stat().st_size for p in RECORDS.glob("**/portfolio/**/*") if p.is_file())
    if kept > MOST_BYTES:
        shutil.rmtree(target)
        raise SystemExit(f"portfolios under bench/records must be at most {MOST_BYTES:,} bytes, got {kept:,}")
    return target


def from_levels(out: Path, levels: Path, job: Job, which: Sequence[int] = ()) -> Portfolio:
    """A portfolio of levels that were trained elsewhere: shrunk, exported, judged and measured here.

    Args:
        out: New folder, or one that this function began.
        levels: Folder as `run_levels` leaves it; levels may be missing from it.
        job: Model and data, batch sizes and what widths are rounded to.
        which: Levels to take; empty = all.
    """
    data = open_set(job.data)
    ref = reference(job, data)
    model = beginning(job, ref)()
    parent = Parent.of(model, ref, job.multiple)
    trained = read_json(levels / "run.json")
    recipe = Recipe("elsewhere", 1, {"method.name": job.method, "shrink.multiple": job.multiple, **trained})
    portfolio = claim(out, ref, facts(data), recipe, resume=True)
    judge = Judge.of(data, ref, job)
    for path in sorted(levels.glob("level-*.json")):
        if not path.with_suffix(".safetensors").exists():
            continue  # of a large dense network, which did not come along
        index = int(path.stem.partition("-")[2])
        level = Folder(levels).read_level(index, read_json(path)["kept"])
        assert level is not None
        if (not which or index in which) and name_of(level) not in {v.name for v in portfolio}:
            portfolio = keep(portfolio, level, parent, judge, Silent())
    return portfolio
