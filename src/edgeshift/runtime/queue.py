# SPDX-License-Identifier: Apache-2.0
"""The requests that wait: a bounded line, first come, first served."""

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, Rejected
from edgeshift.runtime.answer import Answer


@dataclass(frozen=True, eq=False)
class Request:
    """One request in the line.

    Attributes:
        inputs: By name, checked.
        arrived_s: When it came.
        deadline_s: What it may take from then to the answer; inf = no deadline.
        variant: Index in the ladder of the variant that was asked for; None = the policy chooses.
        future: Where the answer goes.
    """

    inputs: Mapping[str, NDArray[Any]]
    arrived_s: float
    deadline_s: float
    variant: str | None
    future: "Future[Answer]"


class Line:
    """A bounded queue that can be emptied and closed."""

    def __init__(self, limit: int) -> None:
        """An empty line.

        Args:
            limit: Requests that may wait, 1 or more.
        """
        if limit < 1:
            raise BadValue("queue_limit", limit, "at least 1")
        self._limit = limit
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, request: Request) -> None:
        """Add a request at the end.

        Raises:
            Rejected: If the line is full or closed.
        """
        with self._changed:
            if self._closed:
                raise Rejected("switcher must be open for a request, got a closed one", code="closed")
            if len(self._waiting) >= self._limit:
                raise Rejected(
                    f"waiting requests must be at most {self._limit}, got one more", code="queue_full"
                )
            self._waiting.append(request)
            self._changed.notify()

    def take(self) -> Request | None:
        """The first request, waiting for one; None once the line is closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            return self._waiting.popleft()

    def flush(self) -> list[Request]:
        """Everything that waits, taken out."""
        with self._changed:
            found = list(self._waiting)
            self._waiting.clear()
            return found

    def close(self) -> None:
        """Take no more requests; those that wait are still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
