# SPDX-License-Identifier: Apache-2.0
"""Variants that failed: kept away from requests, opened again in the background, let back when they answer right."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeshift.core.errors import VariantFailed
from edgeshift.runtime.engine import Engine
from edgeshift.runtime.ready import Ready

# First time away, doubled with each further failure up to the last: a variant that fails once in a while comes
# back at once, one that fails always costs a request every five minutes. After as long without a failure, all of them
# are forgotten.
FIRST_S, LAST_S = 1.0, 300.0


@dataclass(frozen=True)
class Case:
    """One variant in quarantine.

    Attributes:
        index: In the ladder of its generation.
        generation: The one it failed in.
        why: What happened.
        until_s: When it may come back, by the monotonic clock.
        opened: Whether it was opened again and passed its self test.
    """

    index: int
    generation: int
    why: str
    until_s: float
    opened: bool = False


class Quarantine:
    """The variants of an engine that must not answer."""

    def __init__(self, engine: Engine, said: Callable[[str], None]) -> None:
        """An empty one.

        Args:
            engine: Whose variants.
            said: Called with a few words when one comes back.
        """
        self._engine = engine
        self._said = said
        self._cases: dict[str, Case] = {}
        self._strikes: dict[str, tuple[int, float]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._mender: threading.Thread | None = None

    def why(self, identity: str) -> str:
        """Why the variant of that id may not answer; empty = it may."""
        case = self._cases.get(identity)
        return "" if case is None else case.why

    def add(self, ready: Ready, why: str) -> None:
        """Keep a variant away; it is opened again in the background."""
        identity = ready.profile.id
        with self._changed:
            now = time.monotonic()
            strikes, quiet_s = self._strikes.get(identity, (0, now))
            strikes = 1 if now > quiet_s else strikes + 1
            until = now + min(FIRST_S * 2 ** (strikes - 1), LAST_S)
            self._strikes[identity] = (strikes, until + LAST_S)
            self._cases[identity] = Case(ready.index, ready.generation, why, until)
            if self._mender is None:
                self._mender = threading.Thread(target=self._mend, name="edgeshift-mend", daemon=True)
                self._mender.start()
            self._changed.notify()

    def clear(self) -> None:
        """Forget everything: another generation is served."""
        with self._changed:
            self._cases.clear()
            self._strikes.clear()

    def _mend(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                due = [(i, c) for i, c in self._cases.items() if not c.opened or c.until_s <= now]
                if not due:
                    ends = [case.until_s for case in self._cases.values()]
                    self._changed.wait(min(ends) - now if ends else None)
                    continue
            for identity, case in due:
                self._mended(identity, case)

    def _mended(self, identity: str, case: Case) -> None:
        """Open a variant again, or let it back if its time is over."""
        if case.generation != self._engine.generation:
            self._replaced(identity, case, None)
            return
        if case.opened:
            if self._replaced(identity, case, None):
                self._said(f"recovered: {self._engine.ladder[case.index].name}")
            return
        try:
            self._engine.renew(case.index)
        except (VariantFailed, IndexError):
            # Said to the engine's listeners; it stays closed, and what is closed is not asked.
            self._replaced(identity, case, None)
            return
        self._replaced(identity, case, Case(case.index, case.generation, case.why, case.until_s, opened=True))

    def _replaced(self, identity: str, before: Case, after: Case | None) -> bool:
        """Put a case in place of another, unless it failed again meanwhile; whether it was done."""
        with self._changed:
            if self._cases.get(identity) is not before:
                return False
            if after is None:
                del self._cases[identity]
            else:
                self._cases[identity] = after
            return True

    def close(self) -> None:
        """End the background thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._mender is not None:
            self._mender.join()
