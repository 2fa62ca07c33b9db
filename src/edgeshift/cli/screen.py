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
        self._open: list[Any] = []  # bars, the outermost first

    @contextmanager
    def task(self, says: str, total: int) -> Iterator[Step]:
        """See `Progress.task`; a bar that goes when the task ends, nothing in a pipe."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done=1, *, note="": None
            return
        if self._live is None:
            self._live = _bars()
            self._live.start()
        live = self._live
        outer = self._open[-1] if self._open else None
        bar = live.add_task(says, total=total, note="", inside=0.0, told=0.0)
        self._open.append(bar)

        def step(done: int = 1, *, note: str = "") -> None:
            task = _find(live, bar)
            told = {"told": task.elapsed or 0.0, "inside": 0.0} if done else {}
            live.update(bar, advance=done, **told, **({"note": note} if note else {}))
            if outer is not None:  # what is done in here is a part of the outer task's next unit
                above = _find(live, outer)
                inside = max(above.fields["inside"], task.percentage / 100)
                live.update(outer, inside=inside, told=above.elapsed or 0.0)

        try:
            yield step
        finally:
            live.refresh()
            self._open.remove(bar)
            live.remove_task(bar)
            if not self._open:
                live.stop()
                self._live = None

    def say(self, line: str) -> None:
        """See `Progress.say`."""
        if self.quiet:
            return
        if self._live is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._live.console.print(line, highlight=False, markup=False)


def seconds_left(elapsed: float, told: float, done: float, total: float) -> float | None:
    """What is left at the pace so far; None before anything is done.

    Args:
        elapsed: Seconds since the task began.
        told: Seconds from its begin to the last news of it.
        done: Units done by then.
        total: Units in all.
    """
    if done <= 0:
        return None
    return max(0.0, told * (total - done) / done - (elapsed - told))


def _find(live: Any, bar: Any) -> Any:
    return next(task for task in live.tasks if task.id == bar)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """Minutes and seconds left; what is done inside the task's own tasks counts."""

        def render(self, task: Task) -> Text:
            done, told = task.completed + task.fields["inside"], task.fields["told"]
            left = seconds_left(task.elapsed or 0.0, told, done, task.total or 0)
            says = "-:--" if left is None else f"{int(left) // 60}:{int(left) % 60:02d} left"
            return Text(says, style="cyan")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeLeft(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=Console(stderr=True),
        transient=True,
    )
