# SPDX-License-Identifier: Apache-2.0
"""Several variants in one safetensors file: the largest one's numbers, ordered so that each variant is a prefix.

Every axis of a shared tensor is sorted by how many variants have the position, most first, so that variant `k` is
a prefix of each axis. Tensors lie flat, in blocks of columns (axis 1) that the same variants have: the part of a
block that a variant needs is its first rows, one piece of the file that can be used where it lies. One-dimensional
tensors that differ, such as batch norm's, are kept for each variant. Needs no torch.
"""

import hashlib
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue, BadWeights
from edgeshift.core.files import write_bytes
from edgeshift.core.recipe import canonical
from edgeshift.formats.sparse import raw
from edgeshift.formats.tensors import facts_of, header, tensor_bytes

FORMAT = 1
# Names in the file beside those of tensors; "/" is in no name of a torch tensor.
FILES, OWN = "/files", "/own"
DTYPES: dict[str, type[np.generic]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
}
DTYPES |= {"I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}
Array = NDArray[Any]


@dataclass(frozen=True)
class Member:
    """One variant before it is nested.

    Attributes:
        name: Of the variant.
        tensors: Name -> array, in the order of the variant's own channels.
        kept: Name -> for each axis the positions in the largest variant's tensor, rising.
    """

    name: str
    tensors: Mapping[str, Array]
    kept: Mapping[str, tuple[NDArray[np.int64], ...]]


@dataclass(frozen=True)
class Axis:
    """Which variants have which positions of one axis.

    Attributes:
        last: `(size,)`, the smallest variant that has the position; `k` has those with `last >= k`.
    """

    last: NDArray[np.int64]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions as they lie in the file."""
        return np.argsort(-self.last, kind="stable")

    def size(self, variant: int) -> int:
        """Positions that a variant has: the first so many of `order`."""
        return int((self.last >= variant).sum())

    def place(self, variant: int) -> NDArray[np.int64]:
        """For each position of the variant, in its own order, where it lies in the file."""
        return np.argsort(self.order[: self.size(variant)], kind="stable")

    def is_sorted(self, variant: int) -> bool:
        """Whether the variant's own order is that of the file."""
        place = self.place(variant)
        return bool((place == np.arange(len(place))).all())

    @cached_property
    def shells(self) -> list[tuple[int, int]]:
        """Smallest variant and number of positions of each block, in the order of the file."""
        found, counts = np.unique(-self.last, return_counts=True)
        return [(-int(k), int(n)) for k, n in zip(found, counts, strict=True)]

    def to_json(self) -> list[list[int]]:
        """Runs of equal values: value, length."""
        cuts = np.flatnonzero(np.diff(self.last)) + 1
        starts = [0, *cuts.tolist()]
        ends = [*cuts.tolist(), len(self.last)]
        return [[int(self.last[a]), b - a] for a, b in zip(starts, ends, strict=True)]

    @staticmethod
    def of(kept: Sequence[NDArray[np.int64]], what: str) -> "Axis":
        """The axis whose positions the variants keep, the largest first.

        Raises:
            BadWeights: If a variant keeps a position that a larger one lacks.
        """
        last = np.zeros(len(kept[0]), np.int64)
        for number, positions in enumerate(kept):
            if (last[positions] < number - 1).any():
                got = int(positions[last[positions] < number - 1][0])
                raise BadWeights(
                    f"{what} must be nested, got channel {got} that the next larger variant lacks"
                )
            last[positions] = number
        return Axis(last)


def nested_bytes(members: Sequence[Member], files: Mapping[str, bytes] | None = None) -> bytes:
    """The content of a nested file; equal members give equal bytes.

    Args:
        members: The largest first; each one's channels are some of the one's before.
        files: More to keep in it, compressed, such as graphs.

    Raises:
        BadValue: If there is no member, or a name twice.
        BadWeights: If channels or numbers of a variant are not those of the larger ones.
    """
    names = [member.name for member in members]
    if not names or len(set(names)) < len(names):
        raise BadValue("names of the variants", names, "one or more, all different")
    found, apart = axes_of(members)
    axes: dict[str, int] = {}
    shared: dict[str, list[int]] = {}
    own: dict[str, list[Any]] = {}
    stored: dict[str, Array] = {}
    for name, whole in members[0].tensors.items():
        numbers = [axes.setdefault(canonical(axis.to_json()), len(axes)) for axis in found[name]]
        if name in apart:
            own[name] = [whole.dtype.str, numbers]
        else:
            shared[name], stored[name] = numbers, _flat(whole, found[name], name)
    for number, member in enumerate(members):
        blocks: dict[str, list[Array]] = {}
        for name in sorted(own):  # as JSON gives them back
            array = member.tensors[name]
            blocks.setdefault(array.dtype.str, []).append(array.reshape(-1))
        stored |= {f"{OWN}/{number}/{kind}": np.concatenate(parts) for kind, parts in blocks.items()}
    pieces = dict(sorted((files or {}).items()))
    if pieces:
        packed = lzma.compress(b"".join(pieces.values()), preset=9 | lzma.PRESET_EXTREME)
        stored[FILES] = np.frombuffer(packed, np.uint8)
    facts = {
        "nested": FORMAT,
        "variants": [[member.name, digest(member.tensors)] for member in members],
        "axes": [json.loads(text) for text in axes],
        "shared": shared,
        "own": own,
        "files": {name: len(data) for name, data in pieces.items()},
    }
    return tensor_bytes(stored, facts)


def axes_of(members: Sequence[Member]) -> tuple[dict[str, tuple[Axis, ...]], frozenset[str]]:
    """Axes of every tensor, and the names of those that each variant has of its own.

    Raises:
        BadWeights: If channels or numbers of a variant are not those of the larger ones.
    """
    axes: dict[str, tuple[Axis, ...]] = {}
    own = set()
    for name, whole in members[0].tensors.items():
        if any(name not in member.tensors or name not in member.kept for member in members):
            raise BadWeights(f"variants must have equal tensors, got {name} in some of them only")
        axes[name] = tuple(
            Axis.of([m.kept[name][a] for m in members], f"axis {a} of {name}") for a in range(whole.ndim)
        )
        other = _other(members, name)
        if other and whole.ndim > 1:
            raise BadWeights(f"tensor {name} must be shared by all variants, got other numbers in {other}")
        if other:
            own.add(name)
    return axes, frozenset(own)


def _other(members: Sequence[Member], name: str) -> str:
    """Name of the first variant whose numbers are not the largest one's; empty if all are."""
    whole = members[0].tensors[name]
    for member in members:
        array, kept = member.tensors[name], member.kept[name]
        if array.dtype != whole.dtype or array.shape != tuple(len(k) for k in kept):
            raise BadWeights(
                f"tensor {name} of {member.name} must have shape {tuple(len(k) for k in kept)} "
                f"and type {whole.dtype}, got {array.shape} and {array.dtype}"
            )
        part = whole[np.ix_(*kept)] if whole.ndim else whole
        if not np.array_equal(raw(part), raw(array)):
            return member.name
    return ""


def _flat(whole: Array, axes: Sequence[Axis], name: str) -> Array:
    """A tensor as it lies in the file."""
    if any(len(axis.shells) > 1 for axis in axes[2:]):
        raise BadWeights(f"tensor {name} must lose channels on axes 0 and 1 only, got another axis")
    if whole.ndim:
        whole = whole[np.ix_(*(axis.order for axis in axes))]
    if whole.ndim < 2 or len(axes[1].shells) == 1:
        return np.ascontiguousarray(whole).reshape(-1)
    parts, at = [], 0
    for _, size in axes[1].shells:
        parts.append(np.ascontiguousarray(whole[:, at : at + size]).reshape(-1))
        at += size
    return np.concatenate(parts)


def digest(tensors: Mapping[str, Array]) -> str:
    """Hex SHA-256 of names, types, shapes and bits."""
    found = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        found.update(canonical([name, array.dtype.str, list(array.shape)]).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@dataclass(frozen=True, eq=False)
class Nested:
    """An opened nested file; tensors are read from the one mapping of it.

    Attributes:
        path: The file.
        variants: Names, the largest first.
        digests: Of each variant's tensors.
        axes: Name of a tensor -> its axes.
        own: Names of the tensors that each variant has of its own, in the order of their block, with dtype.
        start: Where the tensors begin in the file, in bytes.
        data: `(size,)`, uint8, the mapped file.
        places: Name in the file -> dtype, first and last byte after `start`.
        sizes: Name of a kept file -> its length.
    """

    path: Path
    variants: tuple[str, ...]
    digests: tuple[str, ...]
    axes: Mapping[str, tuple[Axis, ...]]
    own: Mapping[str, np.dtype[Any]]
    start: int
    data: NDArray[np.uint8]
    places: Mapping[str, tuple[np.dtype[Any], int, int]]
    sizes: Mapping[str, int]

    def index(self, name: str) -> int:
        """Number of a variant.

        Raises:
            BadPortfolio: If the file lacks it.
        """
        if name not in self.variants:
            raise BadPortfolio(f"{self.path.name} must hold variant {name}, got {list(self.variants)}")
        return self.variants.index(name)

    def shape(self, name: str, variant: int) -> tuple[int, ...]:
        """Of a tensor of a variant."""
        return tuple(axis.size(variant) for axis in self.axes[name])

    def _view(self, name: str) -> Array:
        dtype, begin, end = self.places[name]
        return self.data[self.start + begin : self.start + end].view(dtype)

    def blocks(self, name: str, variant: int) -> list[tuple[int, Array]]:
        """What a variant uses of a shared tensor, without a copy.

        Returns:
            For each block of columns the byte of the file that it begins at, and `(rows, columns, ...)` in the
            order of the file; one block of the tensor's own shape if it has no columns or all variants share them.
        """
        dtype, begin, _ = self.places[name]
        axes, flat, shape = self.axes[name], self._view(name), self.shape(name, variant)
        if len(axes) < 2 or len(axes[1].shells) == 1:
            count = int(np.prod(shape, dtype=np.int64))
            return [(self.start + begin, flat[:count].reshape(shape))]
        found, at, rows = [], 0, len(axes[0].last)
        for last, columns in axes[1].shells:
            if last < variant:
                break
            size = (columns, *shape[2:])
            width = int(np.prod(size, dtype=np.int64))
            piece = flat[at : at + shape[0] * width].reshape(shape[0], *size)
            found.append((self.start + begin + at * dtype.itemsize, piece))
            at += rows * width
        return found

    def own_block(self, name: str, variant: int) -> tuple[int, Array]:
        """Where a variant's own tensor begins in the file, and the tensor, without a copy."""
        dtype = self.own[name]
        block = f"{OWN}/{variant}/{dtype.str}"
        at = 0
        for other, kind in self.own.items():
            if other == name:
                break
            if kind == dtype:
                at += int(np.prod(self.shape(other, variant), dtype=np.int64))
        shape = self.shape(name, variant)
        count = int(np.prod(shape, dtype=np.int64))
        begin = self.start + self.places[block][1] + at * dtype.itemsize
        return begin, self._view(block)[at : at + count].reshape(shape)

    def own_blocks(self, variant: int) -> dict[str, Array]:
        """All tensors of one type that a variant has of its own, `(numbers,)` in the order of `own`, without a copy."""
        return {kind.str: self._view(f"{OWN}/{variant}/{kind.str}") for kind in self.own.values()}

    def tensor(self, name: str, variant: int) -> Array:
        """A tensor of a variant, in the variant's own order; a copy."""
        if name in self.own:
            return self.own_block(name, variant)[1].copy()
        parts = [array for _, array in self.blocks(name, variant)]
        array = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        for number, axis in enumerate(self.axes[name]):
            if not axis.is_sorted(variant):
                array = np.take(array, axis.place(variant), axis=number)
        return np.array(array, order="C")

    def tensors(self, variant: int) -> dict[str, Array]:
        """Every tensor of a variant, bit for bit as it was nested.

        Raises:
            BadPortfolio: If they are not.
        """
        found = {name: self.tensor(name, variant) for name in self.axes}
        got = digest(found)
        if got != self.digests[variant]:
            raise BadPortfolio(
                f"checksum of {self.variants[variant]} in {self.path.name} must be "
                f"{self.digests[variant][:16]}, got {got[:16]}"
            )
        return found

    @cached_property
    def files(self) -> dict[str, bytes]:
        """What is kept beside the tensors.

        Raises:
            BadPortfolio: If it is damaged.
        """
        if not self.sizes:
            return {}
        total = sum(self.sizes.values())
        try:
            packed = self._view(FILES).tobytes()
            data = lzma.LZMADecompressor().decompress(packed, max_length=total + 1)
        except (lzma.LZMAError, EOFError) as error:
            raise BadPortfolio(f"files in {self.path.name} must be whole, got: {error}") from error
        if len(data) != total:
            raise BadPortfolio(f"files in {self.path.name} must have {total} bytes, got {len(data)}")
        found, at = {}, 0
        for name, size in self.sizes.items():
            found[name] = data[at : at + size]
            at += size
        return found


def write_nested(path: Path, members: Sequence[Member], files: Mapping[str, bytes] | None = None) -> None:
    """Write a nested file that is whole or absent; see `nested_bytes`.

    Raises:
        DiskFull: If there is no room.
    """
    write_bytes(path, nested_bytes(members, files))


def open_nested(path: Path) -> Nested:
    """A nested file, mapped; its structure is checked, its numbers when they are read.

    Raises:
        BadValue: If there is no such file.
        BadWeights: If it is no nested file, or a newer format.
    """
    if not path.is_file():
        raise BadValue("nested file", str(path), "an existing file")
    if not path.stat().st_size:
        raise BadWeights(f"{path.name} must be a nested file, got an empty file")
    data = np.memmap(path, np.uint8, "r")
    head = header(data[: 8 + int.from_bytes(data[:8].tobytes(), "little")].tobytes(), path.name)
    facts = facts_of(head, path.name)
    if facts.get("nested") != FORMAT:
        raise BadWeights(f"{path.name} must be a nested file of format {FORMAT}, got {facts.get('nested')!r}")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    try:
        places = {n: _place(t) for n, t in head.items() if n != "__metadata__"}
        if sum(int(count) for runs in facts["axes"] for _, count in runs) > len(data):
            raise BadWeights(f"axes in {path.name} must be shorter than the file, got longer ones")
        table = [
            Axis(np.repeat([int(v) for v, _ in runs], [int(n) for _, n in runs]).astype(np.int64))
            for runs in facts["axes"]
        ]
        wanted = {**facts["shared"], **{name: numbers for name, (_, numbers) in facts["own"].items()}}
        axes = {name: tuple(table[number] for number in numbers) for name, numbers in wanted.items()}
        found = Nested(
            path=path,
            variants=tuple(name for name, _ in facts["variants"]),
            digests=tuple(text for _, text in facts["variants"]),
            axes=axes,
            own={name: np.dtype(kind) for name, (kind, _) in facts["own"].items()},
            start=start,
            data=data,
            places=places,
            sizes={name: int(size) for name, size in facts["files"].items()},
        )
        _check(found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, BadWeights):
            raise
        raise BadWeights(f"{path.name} must be a nested file, got a broken index: {error}") from error
    return found


def _place(entry: Mapping[str, Any]) -> tuple[np.dtype[Any], int, int]:
    begin, end = entry["data_offsets"]
    return np.dtype(DTYPES[entry["dtype"]]), int(begin), int(end)


def _check(found: Nested) -> None:
    """Nothing, if every tensor lies inside the file and has the bytes that its shape asks for."""
    room, levels = len(found.data) - found.start, len(found.variants)
    wanted: dict[str, int] = {}
    for name, axes in found.axes.items():
        if any(((axis.last < 0) | (axis.last >= levels)).any() for axis in axes):
            raise BadWeights(f"axes of {name} must name {levels} variants, got others")
        if name not in found.own:
            wanted[name] = int(np.prod(found.shape(name, 0), dtype=np.int64))
            continue
        for variant in range(levels):
            block = f"{OWN}/{variant}/{found.own[name].str}"
            size = int(np.prod(found.shape(name, variant), dtype=np.int64))
            wanted[block] = wanted.get(block, 0) + size
    for name, count in wanted.items():
        dtype, begin, end = found.places[name]
        if not 0 <= begin <= end <= room or end - begin != count * dtype.itemsize:
            raise BadWeights(
                f"{name} must have {count * dtype.itemsize} bytes in the file, got {begin} to {end}"
            )
    if found.sizes and not 0 <= found.places[FILES][1] <= found.places[FILES][2] <= room:
        raise BadWeights("files must lie inside the nested file, got a place outside")
