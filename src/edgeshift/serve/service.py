# SPDX-License-Identifier: Apache-2.0
"""What every address of the server shares: the switcher, the model, the limits, the counts, the token."""

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope

from edgeshift.core.errors import BadValue, Refused
from edgeshift.runtime.books import Snapshot
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.switcher import Switcher
from edgeshift.serve.codec import parse
from edgeshift.serve.counters import Counters
from edgeshift.serve.limits import Limits
from edgeshift.serve.model import Model

# Long enough that guessing takes longer than the device lives: 16 characters of hex are 64 bits.
SHORTEST_TOKEN = 16
# A body that is too long is read on, unseen, up to this many times the limit, so that a client which sends
# everything before it listens hears why it is refused.
DRAIN = 4
# A dashboard asks once a second; several of them share one snapshot.
FRESH_S = 0.5


@dataclass
class Service:
    """One server at work.

    Attributes:
        engine: What runs.
        switcher: What chooses; owns queue and workers.
        name: Of the model, in addresses.
        limits: See `Limits`.
        deadline_ms: Of requests that name none; None = they have none.
        token: For management; None = there is no management.
        counters: What was answered and refused.
        stopping: Whether the server was told to end.
    """

    engine: Engine
    switcher: Switcher
    name: str
    limits: Limits = field(default_factory=Limits)
    deadline_ms: float | None = None
    token: str | None = None
    counters: Counters = field(default_factory=Counters)
    stopping: bool = False
    started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._taken_s = -FRESH_S
        self._snapshot: Snapshot | None = None
        self._model = Model.of(self.engine, self.name)
        self._secret = None if self.token is None else hashlib.sha256(self.token.encode()).digest()

    @property
    def model(self) -> Model:
        """What is served; read again after the engine opened another ladder."""
        if self._model.ladder is not self.engine.ladder:
            self._model = Model.of(self.engine, self.name)
        return self._model

    async def snapshot(self) -> Snapshot:
        """The switcher's snapshot, at most `FRESH_S` old.

        It sorts a minute of requests, tens of thousands under load: not often, and not in the event loop.
        """
        if self._snapshot is None or time.monotonic() - self._taken_s > FRESH_S:
            self._taken_s = time.monotonic()
            self._snapshot = await asyncio.to_thread(self.switcher.snapshot)
        return self._snapshot

    def named(self, name: str) -> Model:
        """The model, asked for by its name.

        Raises:
            Refused: If it has another.
        """
        if name != self.name:
            raise Refused("unknown_model")
        return self.model

    def authorise(self, scope: Scope) -> None:
        """Let a request pass that carries the token.

        Raises:
            Refused: If there is no management here, or the token is another.
        """
        if self._secret is None:
            raise Refused("not_found")
        given = header(scope, b"authorization") or b""
        kind, _, word = given.partition(b" ")
        # Digests have one length, so that the comparison tells nothing of the token's.
        same = hmac.compare_digest(hashlib.sha256(word.strip()).digest(), self._secret)
        if kind.lower() != b"bearer" or not same:
            raise Refused("unauthorized")


def header(scope: Scope, name: bytes) -> bytes | None:
    """A header's value, None where it is absent."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The body of a request, read within its limits.

    Raises:
        Refused: If it is too long, too slow, or packed.
    """
    if header(scope, b"content-encoding") not in (None, b"identity"):
        raise Refused("unsupported_encoding")
    message = await receive()
    if not message.get("more_body"):  # nearly always: it came with the headers
        found = message.get("body", b"")
        if len(found) > limits.body_bytes:
            raise Refused("body_too_large")
        return bytes(found)
    try:
        async with asyncio.timeout(limits.read_s):
            return await _rest(message, receive, limits)
    except TimeoutError:
        raise Refused("read_timeout") from None


async def _rest(message: Any, receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    length = 0
    while True:
        if message["type"] == "http.disconnect":
            raise Refused("read_timeout")
        part = message.get("body", b"")
        length += len(part)
        if length > DRAIN * limits.body_bytes:
            raise Refused("body_too_large")
        if length <= limits.body_bytes:
            parts.append(part)
        if not message.get("more_body"):
            break
        message = await receive()
    if length > limits.body_bytes:
        raise Refused("body_too_large")
    return b"".join(parts)


async def record(scope: Scope, receive: Receive, limits: Limits) -> dict[str, Any]:
    """The JSON object in a body; `{}` for an empty one."""
    found = await body(scope, receive, limits)
    return parse(found) if found else {}


def read_token(path: Path) -> str:
    """The management token in a file that nobody else may read.

    Raises:
        BadValue: If it is too short, not text, or open to others.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise BadValue("management token file", str(path), "a readable file of ASCII text") from error
    if mode & 0o077:
        raise BadValue("mode of the management token file", oct(mode & 0o777), "0o600, closed to others")
    if len(text) < SHORTEST_TOKEN or not text.isprintable() or " " in text:
        raise BadValue(
            "length of the management token", len(text), f"at least {SHORTEST_TOKEN}, without spaces"
        )
    return text
