# SPDX-License-Identifier: Apache-2.0
"""One generation of a portfolio: its ladder, and the variants of it that are in memory."""

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping

from edgeshift.core.errors import BadPortfolio, BadValue, OutOfMemory, VariantFailed
from edgeshift.core.values import Variant
from edgeshift.runtime.ladder import ladder_of
from edgeshift.runtime.ready import Loaded, Loader, Ready
from edgeshift.runtime.state import Ladder

# What failed to open for want of memory or time is tried again after this long.
RETRY_S = 30.0


class Opened:
    """One generation.

    Attributes:
        loader: Opens its variants.
        generation: Its number; 0 = never published.
        ladder: What a policy may choose from.
        variants: One for each place in the ladder.
        places: Name or id -> index in the ladder.
    """

    def __init__(
        self,
        loader: Loader,
        threads: int,
        known: Mapping[str, Loaded],
        limit_bytes: float,
        said: Callable[[str, str], None],
        only: Collection[str] = (),
    ) -> None:
        """Make the ladder; opens nothing.

        Args:
            loader: Opens variants.
            threads: Whose measurements count.
            known: Variant id -> opened, from the generation before; equal ids are equal files.
            limit_bytes: Of the opened files together.
            said: Called with name and reason when a variant cannot be opened.
            only: Ids of the variants to serve; empty = all.

        Raises:
            BadValue: If there is no variant, or one lacks a figure.
        """
        self.loader = loader
        self.generation = loader.portfolio.generation
        self.ladder: Ladder = ladder_of(loader.portfolio, threads=threads, only=only)
        self.variants: tuple[Variant, ...] = tuple(loader.portfolio.find(p.id) for p in self.ladder.profiles)
        self.places = {key: i for i, p in enumerate(self.ladder.profiles) for key in (p.id, p.name)}
        self._limit_bytes = limit_bytes
        self._said = said
        self._known = {v.id: known[v.id] for v in self.variants if v.id in known}
        self._lock = threading.Lock()
        self._slots: list[Ready | None] = [None] * len(self.ladder)
        self._failed: dict[int, tuple[float, str]] = {}

    @property
    def slots(self) -> tuple[Ready | None, ...]:
        """For each place in the ladder the variant, or None if it is not in memory."""
        return tuple(self._slots)

    @property
    def failed(self) -> dict[int, str]:
        """Index -> why it cannot be opened."""
        return {index: text for index, (_, text) in tuple(self._failed.items())}

    def at(self, index: int) -> Ready | None:
        """The variant if it is in memory."""
        return self._slots[index]

    def hopeless(self, index: int) -> bool:
        """Whether it need not be tried now."""
        return time.monotonic() < self._failed.get(index, (-math.inf, ""))[0]

    def ready(self, index: int) -> Ready:
        """The variant, opened if it is not.

        Raises:
            VariantFailed: If it cannot be opened now.
        """
        found = self._slots[index]
        if found is not None:
            return found
        with self._lock:
            found = self._slots[index]
            if found is None:
                found = self._slots[index] = self._made(index)
            return found

    def _made(self, index: int) -> Ready:
        name = self.ladder[index].name
        if self.hopeless(index):
            raise VariantFailed(f"variant {name} must open, got: {self._failed[index][1]}")
        try:
            loaded = self._loaded(index)
        except (MemoryError, BadPortfolio, VariantFailed) as error:
            # Damage does not heal by itself; memory may come back, and a worker that was too slow to start.
            self.loader.tally.add(error)
            damaged = isinstance(error, BadPortfolio)
            text = f"out of memory: {error}" if isinstance(error, MemoryError) else str(error)
            self._failed[index] = (math.inf if damaged else time.monotonic() + RETRY_S, text)
            self._said(name, text)
            raise VariantFailed(f"variant {name} must open, got: {text}") from error
        self._failed.pop(index, None)
        return Ready(index, self.ladder[index], self.generation, **vars(loaded))

    def _loaded(self, index: int) -> Loaded:
        variant = self.variants[index]
        if variant.id not in self._known:
            self._fits(self.ladder[index].size_bytes)
            loaded = self.loader.load(variant)
            # What is opened is not what was downloaded: its size is known for sure only now.
            self._fits(loaded.size_bytes)
            self._known[variant.id] = loaded
        return self._known[variant.id]

    def _fits(self, size_bytes: int) -> None:
        held = sum(slot.size_bytes for slot in self._slots if slot is not None)
        if held + size_bytes > self._limit_bytes:
            raise OutOfMemory(
                f"opened files must have at most {self._limit_bytes:.0f} bytes, got {held} and {size_bytes} more"
            )

    def release(self, index: int) -> None:
        """Forget a variant; requests that hold it finish on it."""
        with self._lock:
            self._slots[index] = None
            self._known.pop(self.ladder[index].id, None)

    def renew(self, index: int) -> Ready:
        """The variant, opened again and self-tested, in place of the one that failed.

        Raises:
            VariantFailed: If it cannot be opened.
        """
        with self._lock:
            self._known.pop(self.ladder[index].id, None)
            self._failed.pop(index, None)
            self._slots[index] = None
            found = self._slots[index] = self._made(index)
            return found

    def loaded(self) -> dict[str, Loaded]:
        """Variant id -> what is in memory."""
        with self._lock:
            return dict(self._known)


def check_limit(limit_bytes: int | None) -> float:
    """A memory limit; inf for none.

    Raises:
        BadValue: If it is below 1.
    """
    if limit_bytes is None:
        return math.inf
    if limit_bytes < 1:
        raise BadValue("memory_limit_bytes", limit_bytes, "at least 1")
    return float(limit_bytes)
