# SPDX-License-Identifier: Apache-2.0
"""Measures the fleet: `python -m bench.fleet.measure` starts one process per member and goes on where it stopped.

A virtual machine shares its cores with neighbours: here a pure Python loop takes 1.9 times as long for seconds or
minutes, then its own time again. So every burst of calls (10 ms) stands between two runs of that loop, on every
core in use, and counts only if both took at most 1.18 times the loop's own time. Each row is one network on one
member: warm-up of at least 10 calls until two windows of 5 agree within 5 % or 40 ms are over, at most 150 ms; then
bursts until 40 ms and 15 calls, or 120 ms and 5 calls, count; after 0.3 s in vain the network waits for its next
turn. One thread is held to one core.
Run it with a real-time priority (`chrt -f 10`) where other work shares the machine.

Needs nothing but the runtimes; ncnn and MNN may lie in another environment that PYTHONPATH names.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.fleet.members import Call, Member, members, open_on, runtime_version
from bench.fleet.spaces import draw_all

ROWS = Path(__file__).parent / "build"
WINDOW, LEAST_WARM, WARM_S, MOST_WARM_S = 5, 10, 0.04, 0.15
BURST_S, LEAST, ENOUGH_S, FEW, MOST_S, PATIENCE_S = 0.01, 15, 0.04, 5, 0.12, 0.3
DISTURBED, OWN = 1.18, 1.4
STREAM = (
    "import os, numpy as np; os.sched_setaffinity(0, {0}); a = np.zeros(1 << 23); b = a.copy()\n"
    "while True: b[:] = a"
)


class Canary:
    """Tells whether a neighbour has part of a core."""

    def __init__(self, cores: set[int]) -> None:
        self._cores = cores
        self._all = os.sched_getaffinity(0)
        # A whole start can be disturbed: then the best ever seen on this machine counts. A process can also be slower
        # all along, by where its code lies: up to 1.4 times that is taken for its own time.
        file = ROWS / "canary.json"
        ROWS.mkdir(exist_ok=True)
        seen = json.loads(file.read_text()) if file.exists() else 1.0
        own = min(self._loop() for _ in range(3000 if file.exists() else 60_000))
        self._best = own if own <= OWN * seen else seen
        file.write_text(json.dumps(min(own, seen)))

    @staticmethod
    def _loop() -> float:
        begin, total = time.perf_counter(), 0
        for i in range(1000):
            total += i * i
        return time.perf_counter() - begin

    def sings(self) -> bool:
        """Whether every core in use is undisturbed."""
        if len(self._cores) == 1:
            return min(self._loop(), self._loop()) <= DISTURBED * self._best
        found = True
        for core in self._cores:
            os.sched_setaffinity(0, {core})
            found = found and min(self._loop(), self._loop()) <= DISTURBED * self._best
        os.sched_setaffinity(0, self._all)
        return found


def warm_up(call: Call) -> None:
    """Call until it is steady."""
    clock = time.perf_counter
    start, last, calls = clock(), 0.0, 0
    while True:
        window = []
        for _ in range(WINDOW):
            begin = clock()
            call()
            window.append(clock() - begin)
        calls += WINDOW
        middle, spent = float(np.median(window)), clock() - start
        steady = bool(last) and abs(middle - last) <= 0.05 * last
        if (calls >= LEAST_WARM and (steady or spent > WARM_S)) or spent > MOST_WARM_S:
            return
        last = middle


def timed(call: Call, canary: Canary) -> dict[str, float]:
    """Median, median absolute deviation, lower quartile (ms), calls that count and calls that do not."""
    warm_up(call)
    clock = time.perf_counter
    start, good, bad = clock(), list[float](), list[float]()
    quiet = canary.sings()
    while clock() - start < PATIENCE_S:
        burst: list[float] = []
        while sum(burst) < BURST_S and quiet:
            begin = clock()
            call()
            burst.append(clock() - begin)
        before, quiet = quiet, canary.sings()
        (good if before and quiet else bad).extend(burst)
        if not quiet:
            until = clock() + 0.004
            while not quiet and clock() < until:
                quiet = canary.sings()
        if (sum(good) >= ENOUGH_S and len(good) >= LEAST) or (sum(good) >= MOST_S and len(good) >= FEW):
            break
    counted = good if len(good) >= FEW else [*good, *bad]
    while len(counted) < FEW:
        begin = clock()
        call()
        counted.append(clock() - begin)
    ms = 1000 * np.array(counted)
    middle = float(np.median(ms))
    return {
        "ms": middle,
        "mad": float(np.median(abs(ms - middle))),
        "quartile": float(np.percentile(ms, 25)),
        "good": len(good),
        "bad": len(bad),
    }


def work(member: Member, given: argparse.Namespace) -> None:
    """Measure what is still missing of one member until the time is over."""
    file = ROWS / f"{member.name}-{given.again}.jsonl"
    done = {json.loads(line)["net"] for line in file.read_text().splitlines()} if file.exists() else set()
    waiting = [design for design in draw_all()[given.first : given.limit] if design.name not in done]
    end = time.monotonic() + given.seconds
    if member.threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    canary = Canary(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, file.open("a") as out:
        keep = ROWS / "files"
        keep.mkdir(exist_ok=True)
        folder = keep if member.runtime == "MNN" else Path(name)
        while waiting:
            design = waiting.pop(0)
            # No sleep: an idle core wakes up slowly, which looks like a neighbour and then never ends.
            while not canary.sings() and not given.any:
                if time.monotonic() > end:
                    return
            row = {"net": design.name, **timed(open_on(member, design, folder), canary)}
            if row["good"] < FEW and not given.any:
                waiting.append(design)
                continue
            out.write(json.dumps(row) + "\n")
            out.flush()
            if time.monotonic() > end:
                return


def main() -> None:
    """Measure all members, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", default=",".join(members()))
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--limit", type=int, default=300, help="number behind the last network")
    parser.add_argument("--again", type=int, default=1, help="number of the session, 1 or 2")
    parser.add_argument("--seconds", type=float, default=400, help="stop after this long; go on next time")
    parser.add_argument("--any", action="store_true", help="take what comes, disturbed or not")
    parser.add_argument("--worker", action="store_true")
    given = parser.parse_args()
    ROWS.mkdir(exist_ok=True)
    wanted = [members()[name] for name in given.members.split(",")]
    if given.worker:
        work(wanted[0], given)
        return
    end = time.monotonic() + given.seconds
    for member in wanted:
        left = end - time.monotonic()
        if left <= 0:
            return
        words = ["--worker", "--members", member.name]
        words += ["--first", str(given.first), "--limit", str(given.limit)]
        words += ["--again", str(given.again), "--seconds", str(left)]
        words += ["--any"] * given.any
        busy = subprocess.Popen([sys.executable, "-c", STREAM]) if member.busy else None
        try:
            subprocess.run(
                [sys.executable, "-m", "bench.fleet.measure", *words],
                env={**os.environ, **member.environment()},
                check=True,
            )
        finally:
            if busy:
                busy.kill()
        print(f"{member.name}: {runtime_version(member)}, {end - time.monotonic():.0f} s left", flush=True)


if __name__ == "__main__":
    main()
