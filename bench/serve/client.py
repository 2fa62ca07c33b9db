# SPDX-License-Identifier: Apache-2.0
"""A client that costs less than the server: keep-alive sockets, prepared requests, answers compared as bytes."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgeshift.runtime.engine import Engine

VERSION = b'"model_version":"'


@dataclass(frozen=True)
class Work:
    """Requests and their right answers.

    Attributes:
        requests: Whole HTTP requests.
        answers: For each request, variant -> the raw bytes its answer ends with.
        arrays: The inputs of each request.
        input: Name of the input.
    """

    requests: tuple[bytes, ...]
    answers: tuple[Mapping[bytes, bytes], ...]
    arrays: tuple[NDArray[Any], ...]
    input: str


@dataclass
class Tally:
    """What came back.

    Attributes:
        statuses: HTTP status -> answers.
        variants: Variant -> answers.
        wrong: Answers whose outputs are not those of the variant they name.
        broken: Connections that ended before their answer.
        latencies_s: Of answers with status 200, in order; empty unless kept.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    variants: Counter[bytes] = field(default_factory=Counter)
    wrong: int = 0
    broken: int = 0
    latencies_s: list[float] = field(default_factory=list)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A POST as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def binary(name: str, array: NDArray[Any], datatype: str = "FP32") -> tuple[bytes, int]:
    """A request body with one raw tensor, and the length of its JSON."""
    tensor = {
        "name": name,
        "datatype": datatype,
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + array.tobytes(), len(head)


def work(folder: Path, model: str, count: int = 32, *, version: str = "") -> Work:
    """Random inputs, and what each variant answers to them when it runs in this process.

    Args:
        folder: The portfolio that is served.
        model: Its name in addresses.
        count: Different inputs.
        version: Ask for this variant; empty = the server chooses.
    """
    random = np.random.default_rng(0)
    requests, answers, arrays = [], [], []
    at = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    with Engine(folder) as engine:
        (spec,) = engine.inputs
        shape = tuple(size or 1 for size in spec.shape)
        for _ in range(count):
            array = random.standard_normal(shape).astype(np.float32)
            arrays.append(array)
            body, length = binary(spec.name, array)
            requests.append(post(f"{at}/infer", body, f"Inference-Header-Content-Length: {length}"))
            answers.append(
                {
                    p.name.encode(): b"".join(
                        v.tobytes() for v in engine.run({spec.name: array}, p.name).outputs.values()
                    )
                    for p in engine.ladder.profiles
                }
            )
    return Work(tuple(requests), tuple(answers), tuple(arrays), spec.name)


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it was answered."""

    def __init__(self, next_request: Callable[[], bytes | None], done: Callable[[bytes, bytes, float], None]):
        self.next_request, self.done = next_request, done
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.buffer = bytearray()
        self.waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks the first time."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self.ask()

    def ask(self) -> None:
        """Sends the next request, or closes."""
        request = self.next_request()
        if request is None:
            self.transport.close()
            return
        self.waiting = True
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collects one answer."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer.find(b"content-length: ", 0, end) + 16
        length = int(self.buffer[at : self.buffer.find(b"\r", at)])
        if len(self.buffer) < end + 4 + length:
            return
        took = time.perf_counter() - self.sent
        head, body = bytes(self.buffer[:end]), bytes(self.buffer[end + 4 :])
        self.buffer.clear()
        self.waiting = False
        self.done(head, body, took)
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whether an answer was still awaited."""
        if not self.ended.done():
            self.ended.set_result(not self.waiting)


async def load(
    host: str,
    port: int,
    todo: Work,
    total: int,
    connections: int,
    *,
    until: Callable[[], bool] = lambda: False,
    keep: bool = False,
) -> Tally:
    """Ask `total` times over some connections, each as soon as it was answered.

    Args:
        host: Of the server.
        port: Of the server.
        todo: What to ask, round and round.
        total: Requests; fewer if `until` says so.
        connections: At the same time.
        until: Ends it early.
        keep: Keep all latencies.
    """
    tally = Tally()
    asked = 0
    loop = asyncio.get_running_loop()

    def caller() -> Caller:
        place = 0

        def next_request() -> bytes | None:
            nonlocal asked, place
            if asked >= total or until():
                return None
            place = asked % len(todo.requests)
            asked += 1
            return todo.requests[place]

        def done(head: bytes, body: bytes, took: float) -> None:
            status = int(head[9:12])
            tally.statuses[status] += 1
            if status != 200:
                return
            if keep:
                tally.latencies_s.append(took)
            start = body.find(VERSION) + len(VERSION)
            variant = body[start : body.find(b'"', start)]
            tally.variants[variant] += 1
            tally.wrong += not body.endswith(todo.answers[place].get(variant, b"no such variant"))

        return Caller(next_request, done)

    pairs = await asyncio.gather(*(loop.create_connection(caller, host, port) for _ in range(connections)))
    whole = await asyncio.gather(*(protocol.ended for _, protocol in pairs))
    tally.broken = sum(not w for w in whole)
    return tally


async def manage(
    host: str, port: int, token: str, words: Sequence[tuple[str, dict[str, str]]], until: Callable[[], bool]
) -> Counter[int]:
    """Call management, one call after the other, round and round until told to end; status -> answers."""
    statuses: Counter[int] = Counter()
    requests = [
        post(f"/manage/{word}", json.dumps(body).encode(), f"Authorization: Bearer {token}")
        for word, body in words
    ]
    count = 0

    def next_request() -> bytes | None:
        nonlocal count
        if until():
            return None
        count += 1
        return requests[count % len(requests)]

    def done(head: bytes, body: bytes, took: float) -> None:
        statuses[int(head[9:12])] += 1

    loop = asyncio.get_running_loop()
    _, caller = await loop.create_connection(lambda: Caller(next_request, done), host, port)
    if not await caller.ended:
        statuses[0] += 1
    return statuses


def percentile_ms(latencies_s: Sequence[float], share: float) -> float:
    """Nearest rank, in ms."""
    ordered = sorted(latencies_s)
    return 1000 * ordered[round(share * (len(ordered) - 1))]


def loop_factory() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it is installed: the client must not be what is measured."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop()
    made: asyncio.AbstractEventLoop = new_event_loop()
    return made
