# SPDX-License-Identifier: Apache-2.0
"""Half an hour at the highest steady rate with a switch a second: does the server's memory grow?

    python -m bench.serve.soak
    python -m bench.serve.soak --minutes 2 --warm-up 0.5

The client asks again as soon as it was answered, so the rate is the highest that this machine gives. The first
minutes fill what is bounded (the last minute of requests, five minutes of history) and are shown, not counted.
"""

import argparse
import asyncio
import itertools
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.serve.client import Tally, Work, load, loop_factory, manage, work
from bench.serve.process import Running, served

MB = 1e6
EVERY_S = 30


def passed(moment_s: float) -> bool:
    """Whether the clock is there."""
    return time.monotonic() >= moment_s


async def once(at: Running, word: str, fields: dict[str, str]) -> int:
    """One management call; its status."""
    turn = itertools.count(1)
    calls = await manage(at.host, at.port, at.token, [(word, fields)], lambda: next(turn) > 1)
    (status,) = calls
    return status


async def soaked(at: Running, todo: Work, minutes: float, connections: int) -> list[dict[str, Any]]:
    """Load and a switch a second; a row every `EVERY_S` with what came since the one before."""
    names = [name.decode() for name in todo.answers[0]]
    end = time.monotonic() + 60 * minutes
    rows: list[dict[str, Any]] = []
    failed_switches = 0

    async def switches() -> None:
        nonlocal failed_switches
        for name in itertools.cycle(names):
            if time.monotonic() >= end:
                return
            failed_switches += await once(at, "switch", {"variant": name}) != 200
            await asyncio.sleep(1)

    switching = asyncio.create_task(switches())
    begun = time.monotonic()
    while time.monotonic() < end:
        until = min(time.monotonic() + EVERY_S, end)
        start = time.monotonic()
        tally: Tally = await load(
            at.host, at.port, todo, 10**9, connections, until=partial(passed, until), keep=True
        )
        ordered = sorted(tally.latencies_s)
        rows.append(
            {
                "minute": round((time.monotonic() - begun) / 60, 2),
                "resident_mb": at.resident_bytes() / MB,
                "requests": tally.statuses.total(),
                "rate": tally.statuses.total() / (time.monotonic() - start),
                "failed": tally.statuses.total() - tally.statuses[200] + tally.broken,
                "wrong": tally.wrong,
                "failed_switches": failed_switches,
                "p50_ms": 1000 * ordered[len(ordered) // 2],
                "p99_ms": 1000 * ordered[int(0.99 * len(ordered))],
            }
        )
        print(time.strftime("%H:%M:%S"), json.dumps(rows[-1]), flush=True)
    await switching
    return rows


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--warm-up", type=float, default=5, help="minutes before memory counts")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--portfolio", type=Path, help="default: ResNet-20 at four widths, made on the spot")
    parser.add_argument("--no-record", action="store_true")
    asked = parser.parse_args()
    with served(asked.portfolio) as (place, at):
        todo = work(place, at.model)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            rows = runner.run(soaked(at, todo, asked.minutes, asked.connections))
    print(table(rows, ["minute", "resident_mb", "requests", "rate", "failed", "wrong", "p50_ms", "p99_ms"]))
    steady = [row["resident_mb"] for row in rows if row["minute"] >= asked.warm_up]
    growth = steady[-1] - steady[0]
    total = sum(row["requests"] for row in rows)
    failed = sum(row["failed"] + row["wrong"] for row in rows)
    findings = [
        f"resident memory from minute {asked.warm_up:g} to minute {asked.minutes:g}: {growth:+.2f} MB "
        f"({steady[0]:.1f} to {steady[-1]:.1f} MB; goal: under 2 MB); at minute {rows[0]['minute']:g} it was "
        f"{rows[0]['resident_mb']:.1f} MB",
        f"{total} requests at {total / 60 / asked.minutes:.0f} per second, {failed} failed or wrong, "
        f"{rows[-1]['failed_switches']} of the switches failed",
    ]
    print("\n".join(findings))
    if not asked.no_record:
        run = Run(
            claim="serve_soak",
            says="Resident memory of the server under load at the highest rate with a switch a second.",
            repeats="once; every answer compared bit by bit; other work shared the machine",
            spread="none: memory as the system counts it",
        )
        keep(run, rows, findings)


if __name__ == "__main__":
    main()
