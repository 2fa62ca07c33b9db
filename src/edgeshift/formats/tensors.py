# SPDX-License-Identifier: Apache-2.0
"""Named arrays in one safetensors file, with JSON facts beside them. Needs no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue, BadWeights
from edgeshift.core.files import write_bytes
from edgeshift.core.recipe import canonical

# One key only: safetensors writes several in random order, and equal content must give equal bytes.
FACTS = "edgeshift"
# The format's own limit, https://github.com/huggingface/safetensors.
MAX_HEADER = 100_000_000


def facts_metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as the metadata of a safetensors file."""
    return {FACTS: canonical(dict(facts))}


def tensor_bytes(tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, Any] | None = None) -> bytes:
    """A safetensors file; equal content gives equal bytes.

    Args:
        tensors: Name -> array of any shape and any dtype that safetensors knows.
        facts: JSON values to keep with them.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(tensors.items())}
    written: bytes = safetensors.numpy.save(arrays, facts_metadata(facts or {}))
    return written


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, Any] | None = None
) -> None:
    """Write a safetensors file that is whole or absent; see `tensor_bytes`.

    Raises:
        DiskFull: If there is no room.
    """
    write_bytes(path, tensor_bytes(tensors, facts))


def content(source: Path | bytes) -> bytes:
    """The bytes of a file, or the bytes themselves.

    Raises:
        BadValue: If there is no such file.
    """
    if isinstance(source, bytes):
        return source
    if not source.is_file():
        raise BadValue("tensor file", str(source), "an existing file")
    return source.read_bytes()


def header(data: bytes, what: str) -> dict[str, Any]:
    """The JSON at the start of a safetensors file.

    Args:
        data: The file, or at least its header.
        what: What to call it in messages.

    Raises:
        BadWeights: If it is no safetensors file.
    """
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    if not 0 < size <= min(MAX_HEADER, len(data) - 8):
        raise BadWeights(f"{what} must be a safetensors file, got {len(data)} bytes that are none")
    try:
        found = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError) as error:
        raise BadWeights(f"{what} must be a safetensors file, got a broken header: {error}") from error
    if not isinstance(found, dict):
        raise BadWeights(f"{what} must be a safetensors file, got a header that is no record")
    return found


def facts_of(found: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The facts in a header; empty if another program wrote the file.

    Raises:
        BadWeights: If they are no JSON record.
    """
    metadata = found.get("__metadata__") or {}
    text = metadata.get(FACTS) if isinstance(metadata, dict) else None
    if text is None:
        return {}
    try:
        facts = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadWeights(f"facts in {what} must be JSON, got: {error}") from error
    if not isinstance(facts, dict):
        raise BadWeights(f"facts in {what} must be a record, got {type(facts).__name__}")
    return facts


def read_tensors(source: Path | bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a safetensors file, and the facts kept with them.

    Raises:
        BadValue: If there is no such file.
        BadWeights: If it is no safetensors file.
    """
    data, what = content(source), source.name if isinstance(source, Path) else "tensor file"
    facts = facts_of(header(data, what), what)
    try:
        return safetensors.numpy.load(data), facts
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadWeights(f"{what} must be a safetensors file, got: {error}") from error


def read_shapes(source: Path | bytes) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The shapes in a safetensors file, and the facts; no array is built.

    Raises:
        BadValue: If there is no such file.
        BadWeights: If it is no safetensors file.
    """
    data, what = content(source), source.name if isinstance(source, Path) else "tensor file"
    found = header(data, what)
    try:
        return {n: tuple(t["shape"]) for n, t in found.items() if n != "__metadata__"}, facts_of(found, what)
    except (KeyError, TypeError) as error:
        raise BadWeights(f"{what} must be a safetensors file, got a header without {error}") from error
