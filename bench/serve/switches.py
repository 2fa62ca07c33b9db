# SPDX-License-Identifier: Apache-2.0
"""Over HTTP: a million requests, a hundred thousand switches meanwhile, none may fail or name a wrong variant.

    python -m bench.serve.switches
    python -m bench.serve.switches --requests 20000 --switches 2000

Every answer is compared bit by bit with what the variant it names answers in another process.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import tritonclient.http as triton

from bench.record import Run, keep, table
from bench.serve.client import Tally, Work, load, loop_factory, manage, work
from bench.serve.process import Running, served

RUN = Run(
    claim="serve_switches",
    says="Requests over HTTP while management calls switch variants without a pause.",
    repeats="once; every answer compared bit by bit with the variant it names",
    spread="none: counts",
)


async def both(
    at: Running, todo: Work, requests: int, switches: int, connections: int
) -> tuple[Tally, dict[int, int]]:
    """Load, and that many switches meanwhile: what came back, and status -> management calls."""
    names = [name.decode() for name in todo.answers[0]]
    words = [("switch", {"variant": name}) for name in names]
    ended, called = False, 0

    def enough() -> bool:
        nonlocal called
        called += 1
        return ended or called > switches

    async def loaded() -> Tally:
        nonlocal ended
        try:
            return await load(at.host, at.port, todo, requests, connections)
        finally:
            ended = True

    tally, calls = await asyncio.gather(loaded(), manage(at.host, at.port, at.token, words, enough))
    return tally, dict(calls)


def raw(at: Running, todo: Work, requests: int, switches: int, connections: int) -> dict[str, Any]:
    """Rounds of load until both numbers are reached."""
    row: dict[str, Any] = {"client": "raw sockets", "requests": 0, "failed": 0, "wrong": 0, "switches": 0}
    row |= {"switch_calls": 0, "switch_calls_failed": 0}
    begun = time.perf_counter()
    size = min(requests, 50_000)
    share = -(-switches * size // requests)
    while row["requests"] < requests or row["switches"] < switches:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            tally, calls = runner.run(both(at, todo, size, share, connections))
        row["requests"] += tally.statuses.total()
        row["failed"] += tally.statuses.total() - tally.statuses[200] + tally.broken
        row["wrong"] += tally.wrong
        row["switch_calls"] += sum(calls.values())
        row["switch_calls_failed"] += sum(calls.values()) - calls.get(200, 0)
        row["switches"] = counted(at)
        print(time.strftime("%H:%M:%S"), {k: v for k, v in row.items() if k != "client"}, flush=True)
    return {**row, "seconds": time.perf_counter() - begun}


def with_triton(at: Running, todo: Work, requests: int) -> dict[str, Any]:
    """The same check through NVIDIA's client, half in JSON and half raw."""
    row: dict[str, Any] = {"client": "tritonclient", "requests": requests, "failed": 0, "wrong": 0}
    client = triton.InferenceServerClient(f"{at.host}:{at.port}")
    begun = time.perf_counter()
    for i in range(requests):
        place = i % len(todo.arrays)
        asked = triton.InferInput(todo.input, todo.arrays[place].shape, "FP32")
        asked.set_data_from_numpy(todo.arrays[place], binary_data=i % 2 == 0)
        found = client.infer(at.model, [asked])  # raises for anything but 200
        said = found.get_response()
        outputs = b"".join(found.as_numpy(o["name"]).tobytes() for o in said["outputs"])
        row["wrong"] += outputs != todo.answers[place][said["model_version"].encode()]
    return {**row, "seconds": time.perf_counter() - begun}


def counted(at: Running) -> int:
    """Switches that the server counted."""
    with urlopen(f"http://{at.host}:{at.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [each for each in lines if each.startswith("edgeshift_switches_total ")]
    return int(line.split()[1])


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--switches", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--portfolio", type=Path, help="default: ResNet-20 at four widths, made on the spot")
    parser.add_argument("--no-record", action="store_true")
    asked = parser.parse_args()
    with served(asked.portfolio) as (place, at):
        todo = work(place, at.model)
        rows = [raw(at, todo, asked.requests, asked.switches, asked.connections)]
        rows.append(with_triton(at, todo, max(200, asked.requests // 100)))
    print(table(rows, ["client", "requests", "failed", "wrong", "switches", "switch_calls", "seconds"]))
    if not asked.no_record:
        findings = [
            f"{r['client']}: {r['requests']} requests, {r['failed']} failed, {r['wrong']} with outputs of "
            f"another variant than named"
            for r in rows
        ]
        findings.append(
            f"{rows[0]['switches']} switches meanwhile, {rows[0]['switch_calls']} of them asked for by a "
            f"management call ({rows[0]['switch_calls_failed']} failed), the others by the deadline policy"
        )
        keep(RUN, rows, findings)


if __name__ == "__main__":
    main()
