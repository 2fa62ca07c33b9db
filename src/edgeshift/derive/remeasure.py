# SPDX-License-Identifier: Apache-2.0
"""All variants measured in turns, so that a machine that slows down slows all of them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Progress, Silent, Step
from edgeshift.formats import open_onnx
from edgeshift.measure import Protocol, latencies, peak_memories
from edgeshift.portfolio import Portfolio

# A listener hears of a measurement this often: rarely enough to leave the median alone.
HEAR_SECONDS = 0.5


def bench(
    portfolio: Portfolio,
    *,
    batch_sizes: Sequence[int] = (1, 32),
    threads: int = 1,
    memory: bool = True,
    progress: Progress | None = None,
) -> Portfolio:
    """The portfolio with latency and memory of all variants measured again on this machine.

    Args:
        portfolio: Figures of equal quantity, batch size and threads are replaced.
        batch_sizes: Inputs per call, 1 or more.
        threads: Of the runtime.
        memory: Measure peak memory too, each variant in fresh processes.
        progress: Who is told how far it is.

    Raises:
        BadValue: If there is no variant, or a number is below 1.
        BadPortfolio: If a file cannot be trusted or opened.
    """
    if not len(portfolio):
        raise BadValue(f"variants of {portfolio.path}", 0, "at least one to measure")
    progress, protocol = progress or Silent(), Protocol()
    sessions = [open_onnx(portfolio.onnx(variant), threads) for variant in portfolio]
    example = np.random.default_rng(0).standard_normal((1, *sessions[0].input_shape), dtype=np.float32)
    found = []
    for batch_size in batch_sizes:
        most = round(protocol.max_seconds * len(sessions))
        with progress.task(f"latency, batch {batch_size}: seconds at most", most) as step:
            found.append(latencies(sessions, example, batch_size, protocol, ticking(step)))
    variants = portfolio.variants
    for variant, timed in zip(variants, zip(*found, strict=True), strict=True):
        portfolio = portfolio.remeasured(variant, timed)
    if memory:
        with progress.task("peak memory", len(variants)) as step, TemporaryDirectory() as folder:
            for variant in variants:
                file = Path(folder) / "model.onnx"
                file.write_bytes(portfolio.onnx(variant))
                held = peak_memories(file, 1, threads)
                portfolio = portfolio.remeasured(portfolio.find(variant.id), held)
                step(note=variant.name)
    return portfolio


def ticking(step: Step) -> Callable[[], int]:
    """A clock in nanoseconds that tells a listener about passing seconds."""
    begin = time.perf_counter_ns()
    told = 0

    def clock() -> int:
        nonlocal told
        now = time.perf_counter_ns()
        passed = int((now - begin) * 1e-9 / HEAR_SECONDS)
        if passed > told:
            step(int(passed * HEAR_SECONDS) - int(told * HEAR_SECONDS))
            told = passed
        return now

    return clock
