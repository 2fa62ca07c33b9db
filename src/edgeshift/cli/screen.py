# SPDX-License-Identifier: Apache-2.0
"""What a long command shows: bars with time left on a terminal, plain lines in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeshift.core.progress import Step


class Screen:
    """A `Progress` on stderr; stdout stays free for the result.

    Attributes:
        quiet: Say nothing at all, as `--json` asks.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._live: Any = None

    @contextmanager
    def task(self, says: str, total: int) -> Iterator[Step]:
        """See `Progress.task`; a bar that goes when the task ends, nothing in a pipe."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done=1, *, note="": None
            return
        outermost = self._live is None
        if outermost:
            self._live = _bars()
            self._live.start()
        bar = self._live.add_task(says, total=total, note="")

        def step(done: int = 1, *, note: str = "") -> None:
            self._live.update(bar, advance=done, **({"note": note} if note else {}))

        try:
            yield step
        finally:
            self._live.refresh()
            self._live.remove_task(bar)
            if outermost:
                self._live.stop()
                self._live = None

    def say(self, line: str) -> None:
        """See `Progress.say`."""
        if self.quiet:
            return
        if self._live is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._live.console.print(line, highlight=False, markup=False)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=Console(stderr=True),
        transient=True,
    )
