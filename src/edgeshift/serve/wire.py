# SPDX-License-Identifier: Apache-2.0
"""What uvicorn leaves open: connections that send slowly, send too much, never read, or are too many.

A protocol of uvicorn is watched, not replaced: after every piece of data it notes which phase the connection is
in and since when, and the server's own tick (ten times a second) ends those that are over time. A request that
arrives in one piece costs two attribute stores.
"""

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from edgeshift.serve.answers import raw_refusal
from edgeshift.serve.limits import Limits

if TYPE_CHECKING or find_spec("httptools") is None:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
else:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol

# Bytes that a client may send ahead of the answer it waits for; then it is not read from until it is answered.
AHEAD = 64 << 10


class Config(uvicorn.Config):
    """Settings of uvicorn and the limits that its protocol keeps."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(
            app,
            http=Watched,
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="error",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(limits.keep_alive_s) or 1,
            timeout_graceful_shutdown=int(limits.shutdown_s) or 1,
            # Above what one read brings, so that it is this protocol which counts and answers 431.
            h11_max_incomplete_event_size=limits.header_bytes + (1 << 20),
            **options,
        )
        self.limits = limits


class Server(uvicorn.Server):
    """A server of uvicorn that ends what is over time."""

    async def on_tick(self, counter: int) -> bool:
        """See `uvicorn.Server.on_tick`; called ten times a second."""
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Watched):
                connection.end_if_late(now)
        return await super().on_tick(counter)


class Corked:
    """A transport that sends the head of an answer together with its body: one system call, one packet.

    Each call lets go of the interpreter, which another thread may then hold; two per answer are one too many.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends, or keeps a head until its body comes."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and data[9:10] != b"1":
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Sends a head that has no body."""
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def close(self) -> None:
        """See `asyncio.Transport.close`."""
        self.flush()
        self._transport.close()


class Watched(Protocol):
    """One connection.

    Attributes:
        limits: Of the server.
        reading_since: When the headers that are still incomplete began; None while none are awaited.
        whole_since: When the last request was complete; None while one is being read.
        closing_since: When the connection was seen closing with answers unsent.
        received: Bytes of the incomplete headers, or sent ahead of an answer.
    """

    def __init__(self, config: Config, *rest: Any, **named: Any) -> None:
        super().__init__(config, *rest, **named)
        self.limits = config.limits
        self.reading_since: float | None = None
        self.whole_since: float | None = None
        self.closing_since: float | None = None
        self.received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begins to wait for headers, unless there are too many connections."""
        self.corked = Corked(transport)
        super().connection_made(cast(asyncio.Transport, self.corked))
        self.reading_since = self.loop.time()
        if len(self.connections) > self.limits.connections:
            self.refuse("busy")

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        cycle = self.cycle
        if cycle is None or cycle.response_complete:  # headers, not yet whole
            if self.reading_since is None:
                self.reading_since, self.received = self.loop.time(), 0
            self.whole_since = None
            self.received += len(data)
            if self.received > self.limits.header_bytes:
                self.refuse("headers_too_large")
        elif cycle.more_body:  # the endpoint reads it, and knows its limits
            self.reading_since = self.whole_since = None
            self.received = 0
        elif self.whole_since is None or self.reading_since is not None:
            self.reading_since, self.whole_since = None, self.loop.time()
            self.received = 0
        else:
            self.received += len(data)
            if self.received > AHEAD:
                self.flow.pause_reading()  # uvicorn reads on once the answer is complete

    def on_response_complete(self) -> None:
        """See uvicorn's protocols."""
        self.corked.flush()
        self.whole_since = None
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:  # one sent ahead is answered next
            self.whole_since = self.loop.time()

    def shutdown(self) -> None:
        """See uvicorn's protocols; the answer on its way says that it is the last, which h11's leaves out."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for a request that is not HTTP."""
        self.refuse("bad_http")

    def refuse(self, code: str) -> None:
        """Answers outside of any request, then closes."""
        if not self.transport.is_closing():
            self.transport.write(raw_refusal(code))
            self.transport.close()

    def end_if_late(self, now: float) -> None:
        """Ends the connection if its phase took too long."""
        if self.transport.is_closing():  # the other side does not read what is left to send
            if self.closing_since is None:
                self.closing_since = now
            elif now - self.closing_since > self.limits.read_s:
                self.transport.abort()
        elif self.reading_since is not None and now - self.reading_since > self.limits.read_s:
            self.refuse("read_timeout")
        elif (
            self.whole_since is not None
            and now - self.whole_since > self.limits.request_s + self.limits.read_s
        ):
            self.transport.abort()
