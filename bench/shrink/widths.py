# SPDX-License-Identifier: Apache-2.0
"""Widths after shrinking: which rounding makes no level of a sparse VGG-16 slower than the model it came from?

    python -m bench.shrink.widths [--folder build/bench/sparse] [--only 128 ...] [--rounds 7]

Needs the levels of `bench.shrink.train_sparse vgg16_bn`. The sparse model and every rounding of it are timed in
turns, in an order drawn anew each round, in ONNX Runtime and torch at batch 1 and 64; times are processor times.
"wide" is the rule of `edgeshift.graph.analyse.step_for`; "plain" rounds every layer to the multiple itself.
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.record import Run, keep, table
from bench.shrink.rivals import SHAPE, Torch, sparse
from bench.shrink.subjects import one_thread, parameters
from bench.shrink.train_sparse import FOLDER, SEED
from edgeshift.formats import open_onnx
from edgeshift.formats.onnx_file import export_onnx
from edgeshift.graph import analyse, shrink
from edgeshift.measure.latency import Answers

LEVELS = (32, 64, 128, 256)  # at 1/32 nothing dies: how far equal networks differ
# Name -> the multiple asked for, and the width from which layers are rounded to 16.
ROUNDINGS = {
    "exact": (1, None),
    "plain 4": (4, None),
    "plain 16": (16, None),
    "wide 4": (4, analyse.WIDE),
}
TRIALS = (("ort", 1, 20), ("ort", 64, 1), ("torch", 1, 10), ("torch", 64, 1))  # runtime, batch, calls a round
COLUMNS = ("level", "variant", "parameters", "ort_1", "ort_64", "torch_1", "torch_64", "ort_64_spread")


@contextmanager
def wide_from(width: int | None) -> Iterator[None]:
    """Layers from this width on are rounded to 16 inside; none with None."""
    before = analyse.WIDE
    analyse.WIDE = 1 << 30 if width is None else width
    try:
        yield
    finally:
        analyse.WIDE = before


def rows_of(level: int, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """The sparse model of one level and every rounding of it."""
    model = sparse(f"vgg16_bn/{level}", folder)
    example = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(SEED))
    made = {"sparse": model}
    for name, (multiple, width) in ROUNDINGS.items():
        with wide_from(width):
            made[name] = shrink(model, example, multiple=multiple).model
    rows = {n: {"level": level, "variant": n, "parameters": parameters(m)} for n, m in made.items()}
    sessions = {("ort", n): open_onnx(export_onnx(m, example).data) for n, m in made.items()} | {
        ("torch", n): Torch(m) for n, m in made.items()
    }
    for runtime, batch, calls in TRIALS:
        inputs = np.random.default_rng(SEED).standard_normal((batch, *SHAPE), np.float32)
        taken = clock({n: sessions[runtime, n] for n in made}, inputs, calls, rounds)
        for name, times in taken.items():
            key = f"{runtime}_{batch}"
            low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
            ratios = [a / b for a, b in zip(taken["sparse"], times, strict=True)]
            rows[name] |= {
                f"{key}_ms": middle,
                key: statistics.median(ratios),
                f"{key}_spread": (high - low) / middle,
            }
    return list(rows.values())


def clock(variants: dict[str, Answers], inputs: Any, calls: int, rounds: int) -> dict[str, list[float]]:
    """Name -> milliseconds of processor time per call, one number a round."""
    order, draw = list(variants), random.Random(SEED)
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for name in order:
        variants[name].run(inputs)
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            variants[name].run(inputs)  # the weights of the one before are in the cache
            start = time.process_time()
            for _ in range(calls):
                variants[name].run(inputs)
            taken[name].append((time.process_time() - start) / calls * 1000)
    return taken


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows say, in sentences."""
    whole = {r["level"]: r["parameters"] for r in rows if r["variant"] == "sparse"}
    cells = [(r, f"{runtime}_{batch}") for r in rows for runtime, batch, _ in TRIALS]
    equal = [r[k] for r, k in cells if r["variant"] != "sparse" and r["parameters"] == whole[r["level"]]]
    found = []
    if equal:
        found.append(
            f"Where nothing goes, equal networks differ by {min(equal):.3f} to {max(equal):.3f}, "
            f"over {len(equal)} cells: that much is noise."
        )
    for name in ROUNDINGS:
        own = [
            (r[f"{runtime}_{batch}"], r["level"], f"{runtime} at batch {batch}")
            for r in rows
            if r["variant"] == name
            for runtime, batch, _ in TRIALS
        ]
        slowest, level, where = min(own)
        found.append(
            f"{name}: {slowest:.2f} times the sparse model's speed at its slowest ({level}x, {where}), "
            f"{statistics.median(v for v, _, _ in own):.2f} in the middle of {len(own)} cells."
        )
    return found


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=FOLDER)
    options.add_argument("--only", nargs="+", type=int, default=list(LEVELS))
    options.add_argument("--rounds", type=int, default=7)
    chosen = options.parse_args()
    one_thread()
    rows: list[dict[str, Any]] = []
    for level in chosen.only:
        rows += rows_of(level, chosen.folder, chosen.rounds)
        print(table([r for r in rows if r["level"] == level], COLUMNS), flush=True)
    print(*findings(rows), sep="\n")
    if set(chosen.only) == set(LEVELS):
        says = "A sparse VGG-16 shrunk with several roundings of widths: speed over the sparse model's own."
        repeats = (
            f"medians of {chosen.rounds} rounds, all variants of a level in turns, order drawn each round"
        )
        spread = (
            "interquartile range / median of the milliseconds, see *_spread; speeds are medians of ratios"
        )
        keep(Run("shrink_widths", says, seeds=(SEED,), repeats=repeats, spread=spread), rows, findings(rows))


if __name__ == "__main__":
    main()
