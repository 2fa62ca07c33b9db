# SPDX-License-Identifier: Apache-2.0
"""200 connections that send a byte now and then, and one client that behaves: what does it notice of them?

    python -m bench.serve.slow

Latencies of the one client without and with the slow ones, in alternating windows of one run.
"""

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.serve.client import Work, load, loop_factory, percentile_ms, work
from bench.serve.process import Running, served

RUN = Run(
    claim="serve_slow",
    says="Latency of one client while 200 connections send one byte each every half second (slow loris).",
    repeats="windows without and with the slow connections, in turns; medians over windows",
    spread="the windows are in the rows",
)


async def drip(at: Running, request: bytes, counts: dict[str, int]) -> None:
    """One connection that sends a byte every half second, and comes again when it is closed."""
    while True:
        counts["opened"] += 1
        reader, writer = await asyncio.open_connection(at.host, at.port)
        with contextlib.suppress(ConnectionError):
            for byte in request:
                writer.write(bytes([byte]))
                await writer.drain()
                try:
                    answer = await asyncio.wait_for(reader.read(1024), 0.5)
                except TimeoutError:
                    continue
                counts["refused"] += answer[9:12] == b"408"
                break
        writer.close()


async def windows(at: Running, todo: Work, slow: int, pairs: int, requests: int) -> list[dict[str, Any]]:
    """Rows of alternating windows."""
    rows = []
    counts = {"opened": 0, "refused": 0}
    for _ in range(pairs):
        for connections in (0, slow):
            tasks = [asyncio.create_task(drip(at, todo.requests[0], counts)) for _ in range(connections)]
            if tasks:
                await asyncio.sleep(6)  # past the read timeout: from here on they are closed and come again
            tally = await load(at.host, at.port, todo, requests, 1, keep=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            rows.append(
                {
                    "slow_connections": connections,
                    "failed": requests - tally.statuses[200],
                    "p50_ms": percentile_ms(tally.latencies_s, 0.5),
                    "p99_ms": percentile_ms(tally.latencies_s, 0.99),
                    **counts,
                }
            )
            print(rows[-1], flush=True)
            await asyncio.sleep(1)
    return rows


def median(rows: list[dict[str, Any]], slow: int, key: str) -> float:
    """Over the windows with that many slow connections."""
    values = sorted(row[key] for row in rows if row["slow_connections"] == slow)
    return float(values[len(values) // 2])


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="in each window")
    parser.add_argument("--portfolio", type=Path, help="default: ResNet-20 at four widths, made on the spot")
    parser.add_argument("--no-record", action="store_true")
    asked = parser.parse_args()
    with served(asked.portfolio) as (place, at):
        todo = work(place, at.model)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            rows = runner.run(windows(at, todo, asked.slow, asked.pairs, asked.requests))
    print(table(rows, ["slow_connections", "failed", "p50_ms", "p99_ms", "opened", "refused"]))
    ratio = {k: median(rows, asked.slow, k) / median(rows, 0, k) for k in ("p50_ms", "p99_ms")}
    findings = [
        f"{asked.slow} slow connections: p99 of the one client is {ratio['p99_ms']:.2f} times that without them "
        f"(goal: under 2), p50 {ratio['p50_ms']:.2f} times; "
        f"p99 {median(rows, 0, 'p99_ms'):.2f} ms without, {median(rows, asked.slow, 'p99_ms'):.2f} ms with",
        f"{sum(row['failed'] for row in rows)} of its requests failed; {rows[-1]['refused']} slow requests were "
        f"ended with 408",
    ]
    print("\n".join(findings))
    if not asked.no_record:
        keep(RUN, rows, findings)


if __name__ == "__main__":
    main()
