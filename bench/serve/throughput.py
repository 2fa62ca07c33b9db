# SPDX-License-Identifier: Apache-2.0
"""What the server costs beside the least that can answer: requests per second against plain ASGI and a session.

    python -m bench.serve.throughput

Both serve the same variant over the same uvicorn to the same client, in alternating windows of one run. The plain
one has no protocol, queue, worker, checks, limits, metrics or choice of variant.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.serve.client import Work, load, loop_factory, percentile_ms, work
from bench.serve.process import served
from edgeshift.portfolio import Portfolio

RUN = Run(
    claim="serve_throughput",
    says="Requests per second and latency over HTTP beside plain ASGI with one ONNX Runtime session.",
    repeats="windows of both servers in turns; medians over windows",
    spread="the windows are in the rows",
)


@contextmanager
def plain(model: Path, shape: tuple[int, ...]) -> Iterator[int]:
    """The baseline in a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "bench.serve.plain", str(model), str(port), *map(str, shape)]
    with subprocess.Popen(line) as process:
        try:
            while True:
                with socket.socket() as trial:
                    if trial.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def window(host: str, port: int, todo: Work, requests: int, connections: int) -> dict[str, Any]:
    """Rate and latencies of one load."""
    begun = time.perf_counter()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        tally = runner.run(load(host, port, todo, requests, connections, keep=True))
    seconds = time.perf_counter() - begun
    return {
        "connections": connections,
        "failed": requests - tally.statuses[200],
        "rate": requests / seconds,
        "p50_ms": percentile_ms(tally.latencies_s, 0.5),
        "p99_ms": percentile_ms(tally.latencies_s, 0.99),
    }


def median(rows: list[dict[str, Any]], name: str, connections: int, key: str) -> float:
    """Over the windows of one server."""
    values = sorted(r[key] for r in rows if r["server"] == name and r["connections"] == connections)
    return float(values[len(values) // 2])


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="in each window")
    parser.add_argument("--portfolio", type=Path, help="default: ResNet-20 at four widths, made on the spot")
    parser.add_argument("--no-record", action="store_true")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with served(asked.portfolio) as (place, at):
        found = Portfolio.open(place)
        first = work(found.path, at.model)
        variant = max(found, key=lambda v: v.accuracy["validation"])
        shape = first.arrays[0].shape
        named = work(found.path, at.model, version=variant.name)
        with plain(found.path_of(variant, "onnx"), shape) as port:
            bare = replace(named, answers=tuple({b"": b""} for _ in named.answers))
            for _ in range(asked.pairs):
                for connections in (1, 4):
                    ours = window(at.host, at.port, named, asked.requests, connections)
                    theirs = window("127.0.0.1", port, bare, asked.requests, connections)
                    rows += [{"server": "edgeshift", **ours}, {"server": "plain", **theirs}]
    print(table(rows, ["server", "connections", "failed", "rate", "p50_ms", "p99_ms"]))
    findings = []
    for connections in (1, 4):
        rate, p50 = (
            [median(rows, name, connections, key) for name in ("edgeshift", "plain")]
            for key in ("rate", "p50_ms")
        )
        findings.append(
            f"{connections} connections: {rate[0]:.0f} requests per second, {rate[0] / rate[1]:.2f} of the plain "
            f"server's {rate[1]:.0f}; p50 {p50[0]:.2f} against {p50[1]:.2f} ms, {p50[0] - p50[1]:+.2f} ms"
        )
    print("\n".join(findings))
    if not asked.no_record:
        keep(RUN, rows, findings)


if __name__ == "__main__":
    main()
