# SPDX-License-Identifier: Apache-2.0
"""A portfolio in memory: opens its variants, checks them, answers from the one that is named."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue, UnknownName, VariantFailed
from edgeshift.core.registry import Shelf
from edgeshift.core.values import Variant
from edgeshift.formats import TensorSpec
from edgeshift.portfolio import Portfolio
from edgeshift.runtime.answer import Answer
from edgeshift.runtime.backends.shape import Backend
from edgeshift.runtime.cache import Cache
from edgeshift.runtime.ready import Loaded, Loader, Ready, profile_of
from edgeshift.runtime.state import Ladder

BACKENDS = Shelf("backend", "runtime/backends")
MODES = ("warm", "neighbours", "demand")
CACHE = ".cache"
# What failed to open for want of memory is tried again after this long.
RETRY_S = 30.0


class Opened:
    """One generation: its ladder, and the variants of it that are in memory."""

    def __init__(self, loader: Loader, threads: int, known: Mapping[str, Loaded]) -> None:
        """Make the ladder; opens only variants that must be timed.

        Args:
            loader: Opens variants.
            threads: Whose measurements count.
            known: Variant id -> opened, from the generation before; equal ids are equal files.
        """
        self.loader = loader
        self.generation = generation_of(loader.portfolio)
        self._known = dict(known)
        self._lock = threading.Lock()
        profiles = []
        for variant in loader.portfolio:
            profile = profile_of(variant, threads, None)
            if profile is None:
                profile = profile_of(variant, threads, self._loaded(variant).model)
            if profile is not None:
                profiles.append(profile)
        self.ladder = Ladder.of(tuple(profiles))
        self.variants: tuple[Variant, ...] = tuple(loader.portfolio.find(p.id) for p in self.ladder.profiles)
        self.slots: list[Ready | None] = [None] * len(self.ladder)
        self.failed: dict[int, tuple[float, str]] = {}

    def _loaded(self, variant: Variant) -> Loaded:
        if variant.id not in self._known:
            self._known[variant.id] = self.loader.load(variant)
        return self._known[variant.id]

    def ready(self, index: int) -> Ready:
        """The variant at an index, opened if it is not.

        Raises:
            VariantFailed: If it cannot be opened now.
        """
        found = self.slots[index]
        return found if found is not None else self._open(index)

    def _open(self, index: int) -> Ready:
        with self._lock:
            found = self.slots[index]
            if found is not None:
                return found
            until, text = self.failed.get(index, (0.0, ""))
            if time.monotonic() < until:
                raise VariantFailed(f"variant {self.ladder[index].name} must open, got: {text}")
            try:
                loaded = self._loaded(self.variants[index])
            except (MemoryError, BadPortfolio, VariantFailed) as error:
                text = f"out of memory: {error}" if isinstance(error, MemoryError) else str(error)
                # Damage does not heal by itself; memory may come back.
                forever = not isinstance(error, MemoryError)
                self.failed[index] = (float("inf") if forever else time.monotonic() + RETRY_S, text)
                raise VariantFailed(f"variant {self.ladder[index].name} must open, got: {text}") from error
            self.failed.pop(index, None)
            made = Ready(index, self.ladder[index], self.generation, **vars(loaded))
            self.slots[index] = made
            return made

    def release(self, index: int) -> None:
        """Forget a variant; requests that hold it finish on it."""
        with self._lock:
            self.slots[index] = None
            self._known.pop(self.ladder[index].id, None)

    def loaded(self) -> dict[str, Loaded]:
        """Variant id -> what is in memory."""
        with self._lock:
            return dict(self._known)


def generation_of(portfolio: Portfolio) -> int:
    """The number under which a portfolio was published; 0 if it was not."""
    return int(getattr(portfolio, "generation", 0))


class Engine:
    """The variants of a portfolio, ready to answer; use it in a `with` block.

    Only variants of the ladder are served: one that is slower and not more accurate than another is left out.

    Attributes:
        mode: "warm" keeps every variant in memory, "neighbours" the active one and those beside it, "demand"
            the active one and the safe one.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mode: str = "warm",
        memory_limit_bytes: int | None = None,
        threads: int = 1,
        cache: Path | None = None,
        backend: str = "onnxruntime",
        isolated: bool = False,
        public_key: Path | bytes | None = None,
    ) -> None:
        """Open the portfolio in a folder.

        Args:
            path: Of the portfolio.
            mode: One of `MODES`.
            memory_limit_bytes: Of the opened files together; None = no limit.
            threads: Intra-op threads per variant.
            cache: Private folder for built files; None = `.cache` inside the portfolio.
            backend: Name of a file in `runtime/backends`.
            isolated: Run each variant in a process of its own.
            public_key: Ed25519 key that must have signed the portfolio; None = no signature is asked for.

        Raises:
            BadValue: If an option is out of range.
            BadPortfolio: If the portfolio must not be trusted, or none of its variants answers right.
        """
        if mode not in MODES:
            raise BadValue("mode", mode, f"one of {', '.join(MODES)}")
        if threads < 1:
            raise BadValue("threads", threads, "at least 1")
        self.mode = mode
        self.threads = threads
        self.path = Path(path)
        self.memory_limit_bytes = memory_limit_bytes
        self.isolated = isolated
        self._public_key = public_key
        self._backend: Backend = BACKENDS.make(backend)
        self._closed = False
        portfolio = self._read()
        self._cache = Cache(self.path / CACHE if cache is None else cache)
        self._opened = self._open(portfolio, {})

    def _read(self) -> Portfolio:
        return Portfolio.open(self.path)

    def _open(self, portfolio: Portfolio, known: Mapping[str, Loaded]) -> Opened:
        loader = Loader(portfolio, self._backend, self._cache, lambda s: self._backend.open(s, self.threads))
        opened = Opened(loader, self.threads, known)
        errors = []
        wanted = range(len(opened.ladder)) if self.mode == "warm" else range(1)
        for index in wanted:
            try:
                opened.ready(index)
            except VariantFailed as error:
                errors.append(error)
        if len(errors) == len(wanted):
            raise BadPortfolio(f"a variant must be ready, got: {errors[0]}") from errors[0]
        return opened

    @property
    def ladder(self) -> Ladder:
        """The variants served, the fastest first."""
        return self._opened.ladder

    @property
    def generation(self) -> int:
        """Of the portfolio that is served; 0 = never published."""
        return self._opened.generation

    @property
    def runtime(self) -> str:
        """Name and version of what computes."""
        return self._backend.runtime

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a request holds."""
        return self._any().model.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What an answer holds."""
        return self._any().model.outputs

    def _any(self) -> Ready:
        return next(slot for slot in self._opened.slots if slot is not None)

    @property
    def failed(self) -> dict[str, str]:
        """Name of a variant that could not be opened -> why."""
        return {self.ladder[i].name: text for i, (_, text) in dict(self._opened.failed).items()}

    def index_of(self, name: str) -> int:
        """Index of a variant by name or id.

        Raises:
            UnknownName: If it is not served.
        """
        for index, profile in enumerate(self.ladder.profiles):
            if name in (profile.name, profile.id):
                return index
        raise UnknownName("variant", name, [p.name for p in self.ladder.profiles])

    def ready(self, index: int) -> Ready:
        """The variant at an index of the ladder, opened if it is not.

        Raises:
            VariantFailed: If it cannot be opened now.
        """
        return self._opened.ready(index)

    def is_ready(self, index: int) -> bool:
        """Whether it is in memory."""
        return self._opened.slots[index] is not None

    def check(self, inputs: Mapping[str, NDArray[Any]] | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The inputs by name, if they are what the model takes.

        Raises:
            BadValue: If a name, a type or a shape is another, or batch sizes differ.
        """
        specs = self.inputs
        if not isinstance(inputs, Mapping):
            if len(specs) != 1:
                raise BadValue("inputs", type(inputs).__name__, f"a mapping of {[s.name for s in specs]}")
            inputs = {specs[0].name: inputs}
        if inputs.keys() != {spec.name for spec in specs}:
            raise BadValue("names of the inputs", sorted(inputs), f"{sorted(s.name for s in specs)}")
        found = {spec.name: spec.check(inputs[spec.name]) for spec in specs}
        sizes = {len(found[s.name]) for s in specs if s.shape and s.shape[0] is None}
        if len(sizes) > 1:
            raise BadValue("batch sizes of the inputs", sorted(sizes), "equal")
        return found

    def run(self, inputs: Mapping[str, NDArray[Any]] | NDArray[Any], variant: str | None = None) -> Answer:
        """The answer of one variant, at once, in this thread.

        Args:
            inputs: Every input by name, or the array of the only one.
            variant: Name or id; None = the most accurate one that is ready.

        Raises:
            BadValue: If the inputs are not what the model takes.
            UnknownName: If there is no such variant.
            VariantFailed: If it cannot answer.
        """
        checked = self.check(inputs)
        if variant is None:
            ready = next(slot for slot in reversed(self._opened.slots) if slot is not None)
        else:
            ready = self.ready(self.index_of(variant))
        start = time.perf_counter()
        outputs = ready.run(checked)
        took = (time.perf_counter() - start) * 1e3
        return Answer(outputs, ready.profile.name, ready.profile.id, ready.generation, 0.0, took)

    def focus(self, index: int) -> None:
        """Say which variant is active, so that the mode can keep those it needs in memory."""

    def reload(self) -> int:
        """Open what the folder holds now; the old generation serves until the new one is ready.

        Returns:
            The generation served from now on.

        Raises:
            BadPortfolio: If it must not be trusted; the old one still serves.
        """
        self._opened = self._open(self._read(), self._opened.loaded())
        return self.generation

    def rollback(self) -> int:
        """Go back to the generation before, on disk and in memory.

        Raises:
            UnknownName: If there is none.
        """
        raise UnknownName("generation", "before the first", [])

    def close(self) -> None:
        """Free everything."""
        self._closed = True

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
