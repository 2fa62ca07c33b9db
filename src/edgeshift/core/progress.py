# SPDX-License-Identifier: Apache-2.0
"""How a long stage tells how far it is, without knowing who listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol


class Step(Protocol):
    """Called as the work advances."""

    def __call__(self, done: int = 1, *, note: str = "") -> None:
        """`done` more units are finished; `note` is a short text such as a loss."""


class Progress(Protocol):
    """A listener for long work."""

    def task(self, says: str, total: int) -> "ContextStep":
        """A context whose value is a `Step`; `total` is in units of the caller's choice."""

    def say(self, line: str) -> None:
        """One line that stays on the screen."""


class ContextStep(Protocol):
    """A `with` block around one task."""

    def __enter__(self) -> Step: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Silent:
    """Nobody listens."""

    @contextmanager
    def task(self, says: str, total: int) -> Iterator[Step]:
        """See `Progress.task`."""

        def step(done: int = 1, *, note: str = "") -> None:
            return None

        yield step

    def say(self, line: str) -> None:
        """See `Progress.say`."""
