# SPDX-License-Identifier: Apache-2.0
"""How much memory a variant needs, measured in a fresh process that holds nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.core.values import Measurement
from edgeshift.devices.machine import describe_device

# The arena grows with the first calls and then stays.
CALLS = 5
# A child that hangs must not hang the build; opening 300 MB takes 2 s.
TIMEOUT_S = 300


def child(path: Path, batch_size: int, threads: int) -> dict[str, int | str]:
    """What one fresh process reports."""
    command = [sys.executable, "-m", "edgeshift.measure.resident", str(path.resolve())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [*command, str(batch_size), str(threads), str(CALLS)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    found: dict[str, int | str] = json.loads(lines[-1]) if lines else {}
    if "error" in found:
        raise BadPortfolio(f"memory must be measured on a file that opens, got: {found['error']}")
    if done.returncode != 0 or "peak" not in found:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BadPortfolio(f"process that measures memory must end well, got code {done.returncode}: {said}")
    return found


def peak_memories(
    path: str | Path, batch_size: int = 1, threads: int = 1, repeats: int = 3
) -> tuple[Measurement, Measurement]:
    """Peak resident memory of a fresh process that opens a file and answers.

    Args:
        path: ONNX file.
        batch_size: Inputs per call, 1 or more.
        threads: Intra-op threads, 1 or more.
        repeats: Fresh processes, 1 or more.

    Returns:
        "peak_memory": bytes above what the process held before it opened the file (with Python, numpy and the
        runtime loaded); "total_memory": all of it. Medians.

    Raises:
        BadValue: If a number is below 1, there is no such file, or the system has no `/proc`.
        BadPortfolio: If the file does not open or answer.
    """
    if batch_size < 1 or threads < 1 or repeats < 1:
        raise BadValue("batch_size, threads and repeats", (batch_size, threads, repeats), "from 1")
    if not Path(path).is_file():
        raise BadValue("ONNX file", str(path), "an existing file")
    if not Path("/proc/self/status").exists():
        raise BadValue("system", sys.platform, "Linux, to measure peak memory")
    found = [child(Path(path), batch_size, threads) for _ in range(repeats)]
    above = [int(f["peak"]) - int(f["baseline"]) for f in found]
    total = [int(f["peak"]) for f in found]
    runtime = str(found[0]["runtime"])
    one = summary("peak_memory", above, runtime, batch_size, threads)
    return one, summary("total_memory", total, runtime, batch_size, threads)


def summary(quantity: str, values: list[int], runtime: str, batch_size: int, threads: int) -> Measurement:
    """Bytes of several processes as one measurement."""
    low, median, high, most = (float(v) for v in np.percentile(values, (25, 50, 75, 95)))
    return Measurement(
        quantity=quantity,
        value=median,
        unit="bytes",
        kind="measured",
        device=describe_device(),
        runtime=runtime,
        threads=threads,
        batch_size=batch_size,
        repeats=len(values),
        warmup=0,
        p95=most,
        spread=(high - low) / median if median else 0.0,
    ).check()


def peak_memory(path: str | Path, batch_size: int = 1, threads: int = 1, repeats: int = 3) -> Measurement:
    """Peak resident bytes that a file adds to a fresh process; see `peak_memories`."""
    return peak_memories(path, batch_size, threads, repeats)[0]
