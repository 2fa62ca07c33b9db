# SPDX-License-Identifier: Apache-2.0
"""A variant in memory that has shown that it answers right; nothing else may become active."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadDigest, BadPortfolio, DiskFull, SelfTestFailed, VariantFailed
from edgeshift.core.values import Variant
from edgeshift.portfolio import Golden, Portfolio
from edgeshift.runtime.backends.shape import Backend, Model
from edgeshift.runtime.cache import Cache
from edgeshift.runtime.nested import NestedFiles, key_of
from edgeshift.runtime.state import Profile

# A self test against the unoptimised model: as for golden pairs, see portfolio/golden.py.
TOLERANCE = 1e-4
# The first two runs touch every page of the mapped weights and fill the allocator's arena (RUNTIME notes: 0.70
# ms, then 0.51); the third is steady.
WARM_UPS = 2
# A self test in a process of its own is given up after this long.
TEST_S = 60.0


@dataclass(frozen=True, eq=False)
class Ready:
    """One variant, opened and checked.

    Attributes:
        index: In the ladder.
        profile: As the policy sees it.
        generation: Of the portfolio it was opened from.
        model: Answers.
        source: "cache" = mapped from a file built here; "onnx" = from the portable file, because there was no
            room for the other; "views" = weights used where they lie in the nested file.
        size_bytes: Of the opened file.
        load_ms: Opening, self test and warm-up.
        error: Of the self test, relative to the largest output.
        proof: "golden" = compared with the stored answer; "reference" = with the model run unoptimised.
        note: What went wrong and was put right while opening; empty = nothing.
        file: What is mapped; None = nothing is.
        right: Of the reference, by output name, to be compared with again; empty where a golden pair is stored.
    """

    index: int
    profile: Profile
    generation: int
    model: Model
    source: str
    size_bytes: int
    load_ms: float
    error: float
    proof: str
    note: str = ""
    file: Path | None = None
    right: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        """See `Model.run`."""
        return self.model.run(inputs, limit_s)


@dataclass(frozen=True)
class Loaded:
    """A model before it has a place in a ladder; see `Ready` for the fields."""

    model: Model
    source: str
    size_bytes: int
    load_ms: float
    error: float
    proof: str
    note: str = ""
    file: Path | None = None
    right: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Tally:
    """How often something failed that a device can only count; safe from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, error: BaseException) -> None:
        """Count an error if it is a self test or a checksum that failed."""
        for kind, name in ((SelfTestFailed, "self_test"), (BadDigest, "digest")):
            if isinstance(error, kind):
                with self._lock:
                    self._counts[name] += 1

    @property
    def self_tests(self) -> int:
        """Variants that answered wrongly in a self test."""
        return self._counts["self_test"]

    @property
    def digests(self) -> int:
        """Files that were not as they were written down."""
        return self._counts["digest"]


Opener = Callable[[Path | bytes], Model]


@dataclass(frozen=True)
class Loader:
    """Opens variants of one portfolio.

    Attributes:
        portfolio: Where the files are.
        backend: What opens them.
        cache: Where built files are kept.
        opener: Opens a built file or ONNX bytes, in this process or in a worker.
        tally: Of what fails.
        views: Whether variants of a nested file share its mapping instead of being built.
        threads: Intra-op threads of a variant that does.
        nested: Opened nested files; see `edgeshift nest`.
    """

    portfolio: Portfolio
    backend: Backend
    cache: Cache
    opener: Opener
    tally: Tally = field(default_factory=Tally)
    views: bool = False
    threads: int = 1
    nested: NestedFiles = field(default_factory=NestedFiles)

    def load(self, variant: Variant) -> Loaded:
        """The variant, opened, self-tested and warm.

        Raises:
            BadPortfolio: If a file is damaged, or the variant answers wrongly.
            MemoryError: If there is not enough memory.
            VariantFailed: If it cannot answer.
        """
        start = time.perf_counter()
        if self.views:
            model, size = self.nested.open_views(self.portfolio, variant, self.backend, self.threads)
            return self._proved(variant, model, ("views", size, ""), None, start)
        key = self.cache.key(key_of(variant), self.backend)
        note = ""
        try:
            path = self.cache.find(key)
            if path is not None:
                return self._tested(variant, path, "cache", "", start)
        except (BadPortfolio, VariantFailed) as error:
            self.tally.add(error)
            self.cache.drop(key)
            note = f"cached file refused: {error}"
        onnx = self.nested.onnx(self.portfolio, variant)
        try:
            path = self.cache.build(key, self.backend, onnx)
        except DiskFull as error:
            return self._tested(variant, onnx, "onnx", f"{note} not cached: {error}".strip(), start)
        return self._tested(variant, path, "cache", note, start)

    def _tested(
        self, variant: Variant, content: Path | bytes, source: str, note: str, start: float
    ) -> Loaded:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        file = None if isinstance(content, bytes) else content
        return self._proved(variant, self.opener(content), (source, size, note), file, start)

    def _proved(
        self, variant: Variant, model: Model, what: tuple[str, int, str], file: Path | None, start: float
    ) -> Loaded:
        """The model, after its self test and warm-up; closed if it fails."""
        try:
            error, proof, right = self.self_test(variant, model)
        except (BadPortfolio, VariantFailed):
            model.close()
            raise
        inputs = sample(model)
        for _ in range(WARM_UPS):
            model.run(inputs, TEST_S)
        source, size, note = what
        took_ms = (time.perf_counter() - start) * 1e3
        return Loaded(model, source, size, took_ms, error, proof, note, file, right)

    def recheck(self, ready: Ready) -> str:
        """Why a variant in memory must not answer any more; empty = its file and its answer are right.

        Raises:
            BadPortfolio: If its golden pair cannot be read, so that nothing was shown.
            UnknownName: If the portfolio holds it no longer.
        """
        try:
            if ready.file is not None:
                self.cache.recheck(ready.file)
            if ready.source == "views":
                self.nested.recheck()
        except BadDigest as error:
            self.tally.add(error)
            return str(error)
        variant = self.portfolio.find(ready.profile.id)
        try:
            self.self_test(variant, ready.model, ready.right)
        except (SelfTestFailed, VariantFailed) as error:
            self.tally.add(error)
            return str(error)
        except BadDigest as error:
            self.tally.add(error)
            raise
        return ""

    def self_test(
        self, variant: Variant, model: Model, known: Mapping[str, NDArray[Any]] | None = None
    ) -> tuple[float, str, Mapping[str, NDArray[Any]]]:
        """Relative error, what it was compared with, and the reference's answer if that was it.

        Args:
            variant: Whose files.
            model: Opened from one of them.
            known: The reference's answer, from the self test before.

        Raises:
            BadPortfolio: If the golden pair is damaged or not for this model.
            SelfTestFailed: If the error is above the tolerance.
            VariantFailed: If the model cannot answer.
        """
        kept: Mapping[str, NDArray[Any]] = {}
        if "golden" in variant.files:
            golden = Golden.from_bytes(self.portfolio.read(variant, "golden"))
            if len(model.inputs) != 1:
                raise BadPortfolio(f"model with a golden pair must have one input, got {len(model.inputs)}")
            name, tolerance, proof = model.inputs[0].name, golden.tolerance, "golden"
            right = {model.outputs[0].name: golden.outputs}
            answer = model.run({name: golden.inputs}, TEST_S)
        else:
            inputs, tolerance, proof = sample(model, batch=2), TOLERANCE, "reference"
            right = dict(
                known or self.backend.reference(self.nested.onnx(self.portfolio, variant)).run(inputs)
            )
            kept, answer = right, model.run(inputs, TEST_S)
        error = max(difference(answer[name], wanted) for name, wanted in right.items())
        if not error <= tolerance:
            raise SelfTestFailed(
                f"relative error of {variant.name} in its self test must be at most {tolerance}, got {error:.3g}"
            )
        return error, proof, kept


def difference(answer: NDArray[Any], right: NDArray[Any]) -> float:
    """Largest |difference| over largest |right|; infinite if shapes differ or an answer is not finite."""
    if answer.shape != right.shape:
        return float("inf")
    got, want = answer.astype(np.float64), right.astype(np.float64)
    if not np.isfinite(got).all():
        return float("inf")
    scale = float(np.abs(want).max(initial=0.0))
    return float(np.abs(got - want).max(initial=0.0)) / (scale or 1.0)


def sample(model: Model, batch: int = 1) -> dict[str, NDArray[Any]]:
    """Random inputs of a fixed seed; sizes that may be any are 1, the batch apart."""
    source = np.random.default_rng(0)
    made: dict[str, NDArray[Any]] = {}
    for spec in model.inputs:
        sizes = [1 if size is None else size for size in spec.shape]
        if spec.shape and spec.shape[0] is None:
            sizes[0] = batch
        values = source.standard_normal(sizes)
        # Whole numbers: 0 and 1 are an index in every table.
        made[spec.name] = np.asarray(values if spec.dtype.kind == "f" else values > 0).astype(spec.dtype)
    return made
