# SPDX-License-Identifier: Apache-2.0
"""A portfolio in memory: opens its variants, checks them, answers from the one that is named."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue, UnknownName, VariantFailed
from edgeshift.core.plan_file import read_plan
from edgeshift.core.registry import Shelf
from edgeshift.formats import TensorSpec
from edgeshift.portfolio import Portfolio
from edgeshift.runtime.answer import Answer
from edgeshift.runtime.backends.shape import Backend, Model
from edgeshift.runtime.cache import Cache
from edgeshift.runtime.nested import key_of
from edgeshift.runtime.opened import Opened, check_limit
from edgeshift.runtime.ready import Loaded, Loader, Ready, Tally
from edgeshift.runtime.state import Ladder
from edgeshift.runtime.worker import Remote

BACKENDS = Shelf("backend", "runtime/backends")
MODES = ("warm", "neighbours", "demand")
# For nested files only; see `edgeshift nest`.
VIEWS = "views"
KEEP_ALL = ("warm", VIEWS)
CACHE = ".cache"
# A variant in a process of its own that answers no direct call for this long hangs.
HANG_S = 10.0


class Engine:
    """The variants of a portfolio, ready to answer; use it in a `with` block.

    Only variants of the ladder are served: one that is slower and not more accurate than another is left out. The
    fastest is the safe one and always in memory.

    A variant that raises is one thing; one that hangs or kills its process needs `isolated=True`, which costs a
    process per variant: in this process nothing can stop it.

    Attributes:
        path: Of the portfolio.
        mode: "warm" keeps every variant in memory, "neighbours" the active one and those beside it, "demand"
            the active one. What is missing is opened in the background while a smaller one answers. "views" keeps
            every variant of a nested file, all using the weights where they lie in its one mapping.
        threads: Intra-op threads per variant.
        isolated: Whether each variant has a process of its own.
        tally: Self tests and checksums that failed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mode: str = "warm",
        memory_limit_bytes: int | None = None,
        threads: int = 1,
        cache: Path | None = None,
        backend: str | Backend = "onnxruntime",
        isolated: bool = False,
        public_key: Path | bytes | None = None,
        least_generation: int = 0,
        plan: Path | None = None,
    ) -> None:
        """Open the portfolio in a folder.

        Args:
            path: Of the portfolio.
            mode: One of `MODES`, or `VIEWS`.
            memory_limit_bytes: Of the opened files together; a variant beyond it stays closed. None = no limit.
            threads: Intra-op threads per variant.
            cache: Private folder for built files; None = `.cache` inside the portfolio.
            backend: Name of a file in `runtime/backends`, or a backend.
            isolated: Run each variant in a process of its own.
            public_key: Ed25519 key that must have signed the portfolio; None = no signature is asked for.
            least_generation: Smallest to serve, also after a reload or rollback; 0 = any, drafts too.
            plan: File of `edgeshift plan`; only the variants that it ships are served. None = all.

        Raises:
            BadValue: If an option is out of range, or a variant lacks latency or accuracy.
            BadPortfolio: If the portfolio must not be trusted, none of its variants answers right, or the plan
                is not for it.
            TooOld: If its generation is below the least.
        """
        if mode not in (*MODES, VIEWS):
            raise BadValue("mode", mode, f"one of {', '.join((*MODES, VIEWS))}")
        if threads < 1:
            raise BadValue("threads", threads, "at least 1")
        if least_generation < 0:
            raise BadValue("least_generation", least_generation, "at least 0")
        if mode == VIEWS and isolated:
            raise BadValue("isolated", isolated, "False in mode views: processes share no mapping of ours")
        self.path, self.mode, self.threads, self.isolated = Path(path), mode, threads, isolated
        self.tally = Tally()
        self._limit_bytes = check_limit(memory_limit_bytes)
        self._public_key, self._least = public_key, least_generation
        self._plan = None if plan is None else read_plan(plan)
        self._backend: Backend = BACKENDS.make(backend) if isinstance(backend, str) else backend
        self._listeners: list[Callable[[str, str], None]] = []
        self._renewing = threading.Lock()
        self._wanted = threading.Condition()
        self._wish: int | None = None
        self._focus = 0
        self._fetcher: threading.Thread | None = None
        self._closed = False
        portfolio = Portfolio.open(self.path, public_key, least_generation)
        self._cache = Cache(self.path / CACHE if cache is None else cache)
        self._opened = self._open(portfolio, {}, strict=False)

    def _open(self, portfolio: Portfolio, known: Mapping[str, Loaded], *, strict: bool) -> Opened:
        """A generation with what the mode wants in memory; with `strict`, all of it or an error."""
        views = self.mode == VIEWS
        loader = Loader(portfolio, self._backend, self._cache, self._model, self.tally, views, self.threads)
        only = () if self._plan is None else self._plan.keep([v.id for v in portfolio])
        opened = Opened(loader, self.threads, known, self._limit_bytes, self._said, only)
        errors, damaged = [], False
        wanted = range(len(opened.ladder)) if self.mode in KEEP_ALL else range(1)
        for index in wanted:
            try:
                opened.ready(index)
            except VariantFailed as error:
                errors.append(error)
                damaged = isinstance(error.__cause__, BadPortfolio)
                if strict and damaged:
                    break
        if errors and (len(errors) == len(wanted) or (strict and damaged)):
            raise BadPortfolio(f"a variant must be ready, got: {errors[-1]}") from errors[-1]
        if len({(slot.model.inputs, slot.model.outputs) for slot in opened.slots if slot is not None}) > 1:
            raise BadPortfolio(
                f"variants of {self.path} must have equal inputs and outputs, got different ones"
            )
        keys = (key_of(v) for v in opened.variants if {"onnx", "nested"} & v.files.keys())
        self._cache.sweep({self._cache.key(key, self._backend) for key in keys}, self._backend)
        return opened

    def _model(self, source: Path | bytes) -> Model:
        if self.isolated:
            return Remote(self._backend, source, self.threads)
        return self._backend.open(source, self.threads)

    def _said(self, name: str, text: str) -> None:
        for listener in tuple(self._listeners):
            listener(name, text)

    def listen(self, listener: Callable[[str, str], None]) -> None:
        """Call back with name and reason whenever a variant cannot be opened."""
        self._listeners.append(listener)

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
        return self._best().model.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What an answer holds."""
        return self._best().model.outputs

    def _best(self) -> Ready:
        """The most accurate variant in memory."""
        found = [slot for slot in self._opened.slots if slot is not None]
        if not found:
            raise VariantFailed("a variant must be in memory, got none")
        return found[-1]

    @property
    def failed(self) -> dict[str, str]:
        """Name of a variant that could not be opened -> why."""
        opened = self._opened
        return {opened.ladder[index].name: text for index, text in opened.failed.items()}

    def index_of(self, name: str) -> int:
        """Index of a variant by name or id.

        Raises:
            UnknownName: If it is not served.
        """
        opened = self._opened
        if name not in opened.places:
            raise UnknownName("variant", name, [p.name for p in opened.ladder.profiles])
        return opened.places[name]

    def ready(self, index: int) -> Ready:
        """The variant at an index of the ladder, opened if it is not.

        Raises:
            VariantFailed: If it cannot be opened now.
        """
        return self._opened.ready(index)

    def at(self, index: int) -> Ready | None:
        """The variant at an index of the ladder if it is in memory."""
        return self._opened.at(index)

    def is_ready(self, index: int) -> bool:
        """Whether it is in memory."""
        return self._opened.at(index) is not None

    def renew(self, index: int) -> Ready:
        """The variant opened and self-tested again, after it failed.

        Raises:
            VariantFailed: If it cannot be opened.
        """
        return self._opened.renew(index)

    def sound(self, ready: Ready) -> bool:
        """Whether a variant in memory passes its self test."""
        loader = self._opened.loader
        try:
            loader.self_test(loader.portfolio.find(ready.profile.id), ready.model, ready.right)
        except (BadPortfolio, VariantFailed, UnknownName) as error:
            self.tally.add(error)
            return False
        return True

    def recheck(self, ready: Ready) -> str:
        """Why a variant in memory must not answer any more; empty = it may, or another generation is served.

        Its mapped file is compared with its checksum and its answer with the stored one: a file that is changed where
        it lies changes answers without any error.

        Raises:
            BadPortfolio: If its golden pair cannot be read, so that nothing was shown.
        """
        try:
            return self._opened.loader.recheck(ready)
        except UnknownName:
            return ""

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
            variant: Name or id; None = the most accurate one in memory.

        Raises:
            BadValue: If the inputs are not what the model takes.
            UnknownName: If there is no such variant.
            VariantFailed: If it cannot answer.
        """
        checked = self.check(inputs)
        ready = self._best() if variant is None else self.ready(self.index_of(variant))
        start = time.perf_counter()
        outputs = ready.run(checked, HANG_S)
        took = (time.perf_counter() - start) * 1e3
        return Answer(outputs, ready.profile.name, ready.profile.id, ready.generation, 0.0, took)

    def focus(self, index: int) -> None:
        """Say which variant is active: what the mode needs beside it is opened in the background, the rest closed."""
        if self.mode in KEEP_ALL or self._focus == index:
            return
        self._focus = index
        self._wake()

    def want(self, index: int) -> None:
        """Ask for a variant to be opened in the background."""
        if not self.is_ready(index) and not self._opened.hopeless(index) and self._wish != index:
            self._wish = index
            self._wake()

    def _wake(self) -> None:
        with self._wanted:
            if self._fetcher is None:
                self._fetcher = threading.Thread(target=self._fetch, name="edgeshift-fetch", daemon=True)
                self._fetcher.start()
            self._wanted.notify()

    def _fetch(self) -> None:
        """Open and close variants until the engine is closed."""
        done: tuple[int, int | None] = (0, None)
        while True:
            with self._wanted:
                while not self._closed and done == (self._focus, self._wish):
                    self._wanted.wait()
                if self._closed:
                    return
                done = (self._focus, self._wish)
            self._arrange(*done)
            if self._wish == done[1]:
                self._wish = None
                done = (done[0], None)

    def _arrange(self, focus: int, wish: int | None) -> None:
        """Close what is not needed, then open what is."""
        opened = self._opened
        last = len(opened.ladder) - 1
        if self.mode not in KEEP_ALL:
            beside = range(max(focus - 1, 0), min(focus + 1, last) + 1) if self.mode == "neighbours" else ()
            kept = {0, focus, *beside, *(() if wish is None else (wish,))}
            for index in set(range(last + 1)) - kept:
                opened.release(index)
            missing = [wish, *beside]
        else:
            missing = [wish]
        for index in missing:
            if index is not None and index <= last and not opened.hopeless(index):
                try:
                    opened.ready(index)
                except VariantFailed:  # said to the listeners; a smaller one goes on answering
                    continue

    def reload(self) -> int:
        """Open what the folder holds now; the old generation serves until the new one is ready.

        Returns:
            The generation served from now on.

        Raises:
            BadPortfolio: If it must not be trusted; the old one still serves.
            TooOld: If its generation is below the least; the old one still serves.
            BadValue: If a variant lacks latency or accuracy; the old one still serves.
        """
        with self._renewing:
            found = Portfolio.open(self.path, self._public_key, self._least)
            self._opened = self._open(found, self._opened.loaded(), strict=True)
            self._focus, self._wish = 0, None
            return self.generation

    def rollback(self) -> int:
        """Go back to the generation before, in memory and then on disk.

        Returns:
            The generation served from now on.

        Raises:
            UnknownName: If there is none.
            BadPortfolio: If it must not be trusted; this one still serves.
            TooOld: If it is below the least; this one still serves.
            DiskFull: If there is no room on the disk; this one still serves.
        """
        with self._renewing:
            here = self._opened.loader.portfolio
            before = here.earlier(here.previous, self._public_key, self._least)
            opened = self._open(before, self._opened.loaded(), strict=True)
            here.rolled_back(before.generation, self._public_key, self._least)
            self._opened = opened
            self._focus, self._wish = 0, None
            return self.generation

    def close(self) -> None:
        """Free everything; requests in flight finish first where they hold a variant of this process."""
        with self._wanted:
            self._closed = True
            self._wanted.notify_all()
        if self._fetcher is not None:
            self._fetcher.join()
        for loaded in self._opened.loaded().values():
            loaded.model.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
