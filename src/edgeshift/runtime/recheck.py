# SPDX-License-Identifier: Apache-2.0
"""Variants in memory are checked again while they serve: a file changed where it lies answers without an error."""

import threading
import time
from collections.abc import Callable

from edgeshift.formats import first_line
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.ready import Ready

# How often it is asked whether requests wait.
LOOK_S = 0.02


class Recheck:
    """Compares file and golden answer of the active variant, and of one more in turn, once per period.

    It waits for a moment without requests; where there is none for a whole period, it does not wait longer.
    """

    def __init__(
        self,
        engine: Engine,
        period_s: float,
        *,
        active: Callable[[], Ready],
        idle: Callable[[], bool],
        wrong: Callable[[Ready, str], None],
        unchecked: Callable[[Ready, str], None],
    ) -> None:
        """Nothing is checked before `start`.

        Args:
            engine: Whose variants.
            period_s: Between two rounds.
            active: Gives the variant that answers now.
            idle: Whether no request waits or is computed.
            wrong: Told of a variant that must not answer any more, and why.
            unchecked: Told of a variant that could not be checked, and why.
        """
        self._engine = engine
        self._period_s = period_s
        self._active, self._idle = active, idle
        self._wrong, self._unchecked = wrong, unchecked
        self._next = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgeshift-recheck", daemon=True)

    def start(self) -> None:
        """Go on in the background until `stop`."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self._period_s):
            if self._quiet():
                self.round()

    def _quiet(self) -> bool:
        """Wait for an idle moment, a period at most; False once it must stop."""
        end_s = time.monotonic() + self._period_s
        while not self._idle() and time.monotonic() < end_s:
            if self._stopped.wait(LOOK_S):
                return False
        return not self._stopped.is_set()

    def round(self) -> None:
        """Check the active variant, then the next of the others that are in memory."""
        active = self._active()
        self.check(active)
        size = len(self._engine.ladder)
        for step in range(size):
            other = self._engine.at((self._next + step) % size)
            if other is not None and other is not active:
                self._next = (self._next + step + 1) % size
                self.check(other)
                return

    def check(self, ready: Ready) -> None:
        """Check one variant and tell what was found."""
        try:
            why = self._engine.recheck(ready)
        except Exception as error:  # whatever it is, it is said, and the next round comes
            self._unchecked(ready, first_line(error))
            return
        if why:
            self._wrong(ready, why)

    def stop(self) -> None:
        """End the thread, after the check that it is at."""
        self._stopped.set()
        self._thread.join()
