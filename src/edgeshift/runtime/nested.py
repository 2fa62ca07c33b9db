# SPDX-License-Identifier: Apache-2.0
"""Variants of a nested file in memory: built one by one, or all using the one mapping of the file."""

import hashlib
import threading
from dataclasses import dataclass, field

import numpy as np

from edgeshift.core.errors import BadDigest, BadPortfolio, BadValue, BadWeights
from edgeshift.core.values import Variant
from edgeshift.formats.nested import Nested, open_nested
from edgeshift.formats.nested_onnx import block_names, joined_arrays, joined_onnx, views_onnx, whole_onnx
from edgeshift.portfolio import Portfolio
from edgeshift.runtime.backends.onnxruntime import Joined, Onnxruntime
from edgeshift.runtime.backends.shape import Backend, Model

ROLE = "nested"
# What one more session of ONNX Runtime takes, whatever the network (bench/dvfs/memory).
SESSION_BYTES = 800_000


def key_of(variant: Variant) -> str:
    """What names a variant's ONNX file: its checksum, or for a nested one that of the file and its name.

    Raises:
        BadPortfolio: If it has neither.
    """
    if "onnx" in variant.files:
        return variant.files["onnx"].sha256
    if ROLE not in variant.files:
        raise BadPortfolio(f"variant {variant.name} must have an ONNX file, got {sorted(variant.files)}")
    return f"{variant.files[ROLE].sha256}/{variant.name}"


@dataclass
class NestedFiles:
    """The nested files of a portfolio that are open, each mapped and checked once."""

    _open: dict[str, Nested] = field(default_factory=dict)
    _joined: dict[tuple[str, int], Joined] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def onnx(self, portfolio: Portfolio, variant: Variant) -> bytes:
        """A variant's ONNX file, read or made of the nested file.

        Raises:
            BadPortfolio: If there is none, or it is damaged.
        """
        if "onnx" in variant.files or ROLE not in variant.files:
            key_of(variant)
            return portfolio.read(variant, "onnx")
        nested = self.nested(portfolio, variant)
        return whole_onnx(nested, nested.index(variant.name))

    def nested(self, portfolio: Portfolio, variant: Variant) -> Nested:
        """The nested file that a variant is in, compared with its checksum when it is mapped.

        Raises:
            BadPortfolio: If there is none, or it is damaged.
        """
        if ROLE not in variant.files:
            raise BadPortfolio(
                f"variant {variant.name} must be in a nested file, got {sorted(variant.files)}; run edgeshift nest"
            )
        wanted = variant.files[ROLE].sha256
        with self._lock:
            if wanted not in self._open:
                try:
                    found = open_nested(portfolio.path_of(variant, ROLE))
                except (BadWeights, BadValue) as error:
                    raise BadPortfolio(str(error)) from error
                compare(found, wanted)
                self._open[wanted] = found
            return self._open[wanted]

    def recheck(self) -> None:
        """Compare the mapped files with their checksums again; what answers reads these very pages.

        Raises:
            BadDigest: If one was changed where it lies.
        """
        with self._lock:
            for wanted, found in self._open.items():
                compare(found, wanted)

    def open_views(
        self, portfolio: Portfolio, variant: Variant, backend: Backend, threads: int
    ) -> tuple[Model, int]:
        """A variant whose weights are used where they lie in the mapped file.

        Where variants differ by widths only, one session serves all of them and each brings its weights; it puts the
        blocks of a weight side by side while it runs, so large weights rather have a session for each variant.

        Returns:
            The model, and the bytes of weights that it has for itself.

        Raises:
            BadValue: If the backend cannot share weights.
            BadPortfolio: If the variant is in no nested file, or the file is damaged.
            MemoryError: If there is not enough memory.
        """
        if not isinstance(backend, Onnxruntime):
            raise BadValue("backend", backend.card.name, "onnxruntime in mode views")
        nested = self.nested(portfolio, variant)
        joined = self.joined(nested, variant.files[ROLE].sha256, backend, threads)
        if joined is not None:
            return joined.model(joined_arrays(nested, nested.index(variant.name))), 0
        onnx, arrays, copied = views_onnx(nested, nested.index(variant.name))
        return backend.open_placed(onnx, nested.path.parent.absolute(), arrays, threads), copied

    def joined(self, nested: Nested, digest: str, backend: Onnxruntime, threads: int) -> Joined | None:
        """The session that serves all variants of a file; None where there is none or it would take more memory.

        Args:
            nested: The file.
            digest: Its checksum.
            backend: What opens it.
            threads: Intra-op threads.

        Raises:
            BadPortfolio: If the file is damaged.
        """
        graph = joined_onnx(nested)
        if graph is None or 2 * beside_bytes(nested) > SESSION_BYTES * (len(nested.variants) - 1):
            return None
        with self._lock:
            key = (digest, threads)
            if key not in self._joined:
                self._joined[key] = backend.open_joined(graph, threads)
            return self._joined[key]


def beside_bytes(nested: Nested) -> int:
    """Bytes of the largest weight that the joined graph puts together; the arena's chunks are up to twice that."""
    return max(
        (
            int(np.prod(nested.shape(name, 0))) * nested.places[name][0].itemsize
            for name, axes in nested.axes.items()
            if name not in nested.own and len(block_names(name, axes)) > 1
        ),
        default=0,
    )


def compare(nested: Nested, wanted: str) -> None:
    """Nothing, if the mapped file has that checksum.

    Raises:
        BadDigest: If it has another.
    """
    got = hashlib.sha256(nested.data.data).hexdigest()
    if got != wanted:
        raise BadDigest(f"checksum of the nested file must be {wanted[:16]}, got {got[:16]}")
