# SPDX-License-Identifier: Apache-2.0
"""The server process: opens the portfolio, listens, and ends without losing a request."""

import contextlib
import gc
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeshift.core.errors import BadValue
from edgeshift.portfolio import Portfolio
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.switcher import Switcher
from edgeshift.serve.app import application
from edgeshift.serve.limits import Limits
from edgeshift.serve.model import served_name
from edgeshift.serve.service import Service, read_token
from edgeshift.serve.wire import Config, Server

# Python lets a thread run 5 ms before another gets its turn; the event loop would answer that much later while
# a variant loads. With 0.5 ms the 99.9th percentile stays under 1 ms.
TURN_S = 0.0005
STOP = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Attributes:
        host: Address to listen on; only loopback unless said otherwise.
        port: 0 = any that is free.
        name: Of the model in addresses; empty = the portfolio's own.
        deadline_ms: Of requests that name none; None = they have none.
        policy: Name of a file in `runtime/policies`.
        sensors: Names of files in `runtime/sensors`.
        mode: Which variants stay in memory; see `Engine`.
        workers: Threads that answer.
        threads: Of one variant's operators.
        isolated: Run each variant in a process of its own.
        public_key: File of the Ed25519 key that must have signed the portfolio.
        least_generation: Smallest generation to serve; 0 = any, drafts too.
        plan: File of `edgeshift plan`; only its variants are served. None = all.
        token_file: File of the management token; None = no management.
        limits: See `Limits`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    name: str = ""
    deadline_ms: float | None = None
    policy: str = "deadline"
    sensors: tuple[str, ...] = ()
    mode: str = "warm"
    workers: int = 1
    threads: int = 1
    isolated: bool = False
    public_key: Path | None = None
    least_generation: int = 0
    plan: Path | None = None
    token_file: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def check(self) -> "Settings":
        """Self, or BadValue."""
        self.limits.check()
        if not 0 <= self.port <= 65535:
            raise BadValue("port", self.port, "0 to 65535")
        if self.deadline_ms is not None and not 0 < self.deadline_ms < float("inf"):
            raise BadValue("deadline_ms", self.deadline_ms, "a finite number above 0")
        if self.workers < 1:
            raise BadValue("workers", self.workers, "at least 1")
        return self


class Graceful(Server):
    """A server that stops listening at the first signal and answers what it has; it does not die of it."""

    stopped_by: int = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See `uvicorn.Server.capture_signals`, which would raise the signal again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in STOP}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.stopped_by = self._captured_signals[0] if self._captured_signals else 0


def serve(
    folder: Path, settings: Settings, started: Callable[[str, Service], None] = lambda url, service: None
) -> int:
    """Answer requests until a signal comes.

    Args:
        folder: The portfolio.
        settings: See `Settings`.
        started: Called with the address once the server listens.

    Returns:
        The number of the signal that ended it; 0 = none.

    Raises:
        BadValue: If an option is out of range, or the address cannot be listened on.
        BadPortfolio: If the portfolio must not be trusted.
    """
    settings.check()
    token = None if settings.token_file is None else read_token(settings.token_file)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        engine = stack.enter_context(
            Engine(
                folder,
                mode=settings.mode,
                threads=settings.threads,
                isolated=settings.isolated,
                public_key=settings.public_key,
                least_generation=settings.least_generation,
                plan=settings.plan,
            )
        )
        switcher = stack.enter_context(
            Switcher(
                engine,
                settings.policy,
                deadline_ms=settings.deadline_ms,
                sensors=settings.sensors,
                workers=settings.workers,
            )
        )
        service = Service(
            engine,
            switcher,
            settings.name or served_name(Portfolio.open(folder).model.name),
            settings.limits,
            settings.deadline_ms,
            token,
        )
        server = Graceful(Config(application(service), settings.limits))
        sys.setswitchinterval(TURN_S)
        gc.collect()
        gc.freeze()  # what was imported and opened lives as long as the process: no collection need look at it
        started(address(listener), service)
        server.run(sockets=[listener])
    return server.stopped_by


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        BadValue: If the address is taken or not one of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0], backlog=1024)
    except (OSError, UnicodeError) as error:
        raise BadValue("address to listen on", f"{host}:{port}", "free and of this machine") from error


def address(listener: socket.socket) -> str:
    """The address of a listening socket, for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
