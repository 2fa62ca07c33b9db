# SPDX-License-Identifier: Apache-2.0
"""Operators and memory of the fleet's networks, as ONNX Runtime's own profiler and the system tell them.

`python -m bench.fleet.profile --what operators` times operators on `ort-t1-b1` between undisturbed moments, see
`bench.fleet.measure`; `--what memory` needs no quiet: bytes are counted.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bench.fleet.measure import BURST_S, ROWS, Canary
from bench.fleet.onnx_file import onnx_bytes
from bench.fleet.spaces import Design, draw_all
from edgeshift.core.errors import BadValue
from edgeshift.predict.timeline import profiled, read_profile_events

# Calls that count, calls at least, and how long to wait for them.
ENOUGH, FEW, PATIENCE_S = 60, 12, 0.5


def session(design: Design, folder: str, *, profiling: bool) -> onnxruntime.InferenceSession:
    """As `ort-t1-b1` opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = profiling
    options.profile_file_prefix = f"{folder}/profile"
    return onnxruntime.InferenceSession(onnx_bytes(design), options, providers=["CPUExecutionProvider"])


def image(design: Design, batch_size: int) -> Any:
    """Random input."""
    return np.random.default_rng(0).standard_normal((batch_size, *design.input_shape), np.float32)


def operators(design: Design, canary: Canary, whole_ms: float, folder: str) -> dict[str, Any] | None:
    """The timeline of a network; None where the machine was disturbed."""
    opened, given = session(design, folder, profiling=True), {"x": image(design, 1)}
    for _ in range(10):
        opened.run(None, given)
    calls, good, start = 10, list[int](), time.perf_counter()
    quiet = canary.sings()
    while len(good) < ENOUGH and time.perf_counter() - start < PATIENCE_S:
        first, begin = calls, time.perf_counter()
        while time.perf_counter() - begin < BURST_S:
            opened.run(None, given)
            calls += 1
        before, quiet = quiet, canary.sings()
        good += range(first, calls) if before and quiet else ()
    events = read_profile_events(Path(opened.end_profiling()).read_text())
    if len(good) < FEW:
        return None
    try:
        line = profiled(events, whole_ms, only=good)
    except BadValue:  # the profiler keeps a million events at most and may leave some out
        return None
    tasks = [[task.name, task.op, float(f"{task.ms:.5g}")] for task in line.tasks]
    gaps = line.call_ms + sum(task.gap_ms for task in line.tasks)
    return {"net": design.name, "tasks": tasks, "call_ms": gaps, "calls": len(good)}


def memory(design: Design, batch_size: int) -> dict[str, int]:
    """Bytes of one network in a child process: resident at the peak, and in use in the runtime's arena."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(_child(design, batch_size)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found: dict[str, int] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def _child(design: Design, batch_size: int) -> dict[str, int]:
    data, given = onnx_bytes(design), image(design, batch_size)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        opened = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for _ in range(5):
            opened.run(None, {"x": given})
        peak = _resident("VmHWM") - before
        watched = session(design, folder, profiling=True)
        for _ in range(2):
            watched.run(None, {"x": given})
        events = read_profile_events(Path(watched.end_profiling()).read_text())
    arena = [int(e["args"]["mem_in_use_peak"]) for e in events if "mem_in_use_peak" in e.get("args", {})]
    return {"resident": peak, "arena": max(arena, default=0)}


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    return 0


def main() -> None:
    """One or the other for all networks, going on where it stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=("operators", "memory"), default="memory")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument(
        "--again", type=int, default=1, help="number of the session that timed whole networks"
    )
    parser.add_argument("--seconds", type=float, default=280)
    given = parser.parse_args()
    ROWS.mkdir(exist_ok=True)
    file = ROWS / (f"operators-{given.again}.json" if given.what == "operators" else "memory.json")
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {row["net"] for row in rows}
    waiting = [design for design in draw_all()[given.first : given.limit] if design.name not in done]
    end = time.monotonic() + given.seconds
    with file.open("a") as out:
        if given.what == "memory":
            for design in waiting:
                repeats = {size: [memory(design, size) for _ in range(3)] for size in (1, 8)}
                row = {"net": design.name} | {
                    f"{key}_{size}": sorted(found[key] for found in many)[1]
                    for size, many in repeats.items()
                    for key in ("resident", "arena")
                }
                out.write(json.dumps(row) + "\n")
                out.flush()
            return
        whole = {
            row["net"]: row["ms"]
            for row in map(json.loads, (ROWS / f"ort-t1-b1-{given.again}.jsonl").read_text().splitlines())
        }
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        canary = Canary(os.sched_getaffinity(0))
        with tempfile.TemporaryDirectory() as folder:
            while waiting and time.monotonic() < end:
                design = waiting.pop(0)
                while not canary.sings() and time.monotonic() < end:
                    pass
                found = operators(design, canary, whole[design.name], folder)
                if found is None:
                    waiting.append(design)
                    continue
                out.write(json.dumps(found) + "\n")
                out.flush()


if __name__ == "__main__":
    main()
