# SPDX-License-Identifier: Apache-2.0
"""What the server grants one client; everything beyond is refused."""

import math
from dataclasses import dataclass, fields

from edgeshift.core.errors import BadValue


@dataclass(frozen=True)
class Limits:
    """Sizes and times of one connection and one request.

    Attributes:
        body_bytes: Longest body, whether its length is declared or it comes in chunks.
        header_bytes: Longest request line and headers together.
        path_bytes: Longest path and query together.
        connections: Open at the same time; one more is answered 503 and closed.
        read_s: From the first byte of a request, or from the connection, to the end of its headers; and from
            there to the end of its body.
        request_s: From the whole request to its answer.
        keep_alive_s: Between an answer and the next request on the same connection.
        shutdown_s: For the requests in flight when the server is told to stop.
    """

    body_bytes: int = 4 << 20
    header_bytes: int = 16 << 10
    path_bytes: int = 2 << 10
    connections: int = 256
    read_s: float = 5.0
    request_s: float = 30.0
    keep_alive_s: float = 30.0
    shutdown_s: float = 30.0

    def check(self) -> "Limits":
        """Self, or BadValue."""
        for each in fields(self):
            value = getattr(self, each.name)
            if not (value > 0 and math.isfinite(value)):
                raise BadValue(each.name, value, "above 0 and finite")
        return self
