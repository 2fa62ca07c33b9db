# SPDX-License-Identifier: Apache-2.0
"""A portfolio of three variants whose answers tell them apart, and servers of it."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.types import ASGIApp

from edgeshift.core.values import Measurement
from edgeshift.portfolio import Draft, Golden, Portfolio
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.switcher import Switcher
from edgeshift.serve.app import application
from edgeshift.serve.service import Service
from tests.portfolio.made import DATA, INPUT, MODEL, WEIGHT, draft, onnx_bytes, weight_file

TOKEN = "0123456789abcdef-for-tests"
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
MODEL_AT = "/v2/models/toy"
# Each variant multiplies by its own matrix: small by WEIGHT, middle by 2, large by 3 times it.
FACTORS = {"small": 1, "middle": 2, "large": 3}
ACCURACY = {"small": 0.8, "middle": 0.9, "large": 0.95}


def portfolio(folder: Path, names: tuple[str, ...] = tuple(FACTORS)) -> Path:
    """Variants that multiply `(batch, 3)` by a matrix of their own."""
    found = Portfolio.create(folder, MODEL, DATA, {"method": "none"})
    for name in names:
        weight = WEIGHT * FACTORS[name]
        files: dict[str, bytes | Path] = {
            "onnx": onnx_bytes(weight),
            "weights": weight_file(weight),
            "golden": Golden(INPUT, (INPUT @ weight).astype(np.float64)).to_bytes(),
        }
        found = found.add(made(name), files)
    return folder


def made(name: str) -> Draft:
    """A draft with times and accuracy that rise together."""
    latency = Measurement("latency", 0.1 * FACTORS[name], "ms", p95=0.2 * FACTORS[name])
    return Draft(**{**vars(draft(name, ACCURACY[name])), "measurements": (latency,)})


def body(rows: list[list[float]] | None = None, **more: Any) -> dict[str, Any]:
    """A request in JSON."""
    data = [[1, 0, 0]] if rows is None else rows
    tensor = {"name": "input", "datatype": "FP32", "shape": [len(data), 3], "data": data}
    return {"inputs": [tensor], **more}


@contextlib.contextmanager
def service(
    folder: Path, policy: str = "deadline", *, least_generation: int = 0, **options: Any
) -> Iterator[tuple[Service, "Client"]]:
    """A service and a client of it, in this process."""
    with Engine(folder, least_generation=least_generation) as engine, Switcher(engine, policy) as switcher:
        running = Service(engine, switcher, "toy", **options)
        with asyncio.Runner() as runner:
            client = Client(runner, application(running))
            yield running, client
            runner.run(client.http.aclose())


class Client:
    """A client of an ASGI application; an exception in the application is one in the test."""

    def __init__(self, runner: asyncio.Runner, app: ASGIApp) -> None:
        self.runner = runner
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return self.runner.run(self.http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """One GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """One POST."""
        return self.request("POST", path, **options)


# What a base install is: the compiled loop and parser are optional.
BASE = (
    "import sys; sys.modules['uvloop'] = sys.modules['httptools'] = None;"
    "from edgeshift.cli import main; main(sys.argv[1:])"
)


@contextlib.contextmanager
def process(
    folder: Path, token_file: Path | None = None, *options: str, base: bool = False
) -> Iterator["Process"]:
    """`edgeshift serve` on a free port; ended and waited for."""
    line = [sys.executable, *(("-c", BASE) if base else ("-m", "edgeshift"))]
    line += ["serve", str(folder), "--port", "0", "--name", "toy", *options]
    if token_file is not None:
        token_file.touch(0o600)
        token_file.write_text(TOKEN, encoding="ascii")
        line += ["--management-token-file", str(token_file)]
    around = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            first = running.stdout.readline()
            found = re.search(r"at http://127.0.0.1:(\d+)/v2/models/toy/infer", first)
            assert found is not None, running.stderr.read()
            yield Process(running, int(found[1]))
        finally:
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)


class Process:
    """A server in a process of its own."""

    def __init__(self, running: "subprocess.Popen[str]", port: int) -> None:
        self.running, self.port = running, port
        self.url = f"http://127.0.0.1:{port}"

    def connect(self, timeout_s: float = 20.0) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)

    def exchange(self, request: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)
