# SPDX-License-Identifier: Apache-2.0
"""What a backend built for this device, kept in a private folder under checksums.

`<key>.json` names a file `<sha256>.bin`, its size, what built it, and a checksum of all this; the key covers the ONNX
file's digest, the runtime's version, the CPU's features and the optimisation level. A file is written whole, never
rewritten, and compared with its checksum before it is mapped: no model format notices a flipped bit by itself. What
nobody will find again is swept, and what is not in use is bounded.
"""

import contextlib
import hashlib
import math
import os
import platform
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeshift.core.errors import BadDigest, BadPortfolio, BadValue, DiskFull
from edgeshift.core.files import FULL, json_bytes, read_json, sha256_file, sync_folder, write_json
from edgeshift.core.recipe import canonical
from edgeshift.runtime.backends.shape import Backend

FORMAT = 3
# CPU flags that decide which kernels a runtime picks and how it lays weights out; the rest differ between
# machines that may share a file.
PREFIXES = ("avx", "fma", "f16c", "amx", "sse4", "asimd", "sve", "i8mm", "bf16", "sme", "neon", "rvv")
PART, KEPT = ".part-", ".bin"
# Bytes of an entry; those that are written have some 300.
LONGEST = 4096
# A half-written file this old belongs to nobody any more: the largest build takes seconds.
STALE_S = 600.0
# What is not in use may stay up to the size of what is, or this: a rollback then need not build again.
SPARE_BYTES = 64 << 20


def cpu_features(root: Path = Path("/")) -> tuple[str, ...]:
    """Instruction sets that this CPU has, sorted: what the kernel lists and what numpy asked the CPU itself.

    Args:
        root: Where `/proc` is.
    """
    found = {platform.machine()}
    with contextlib.suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() in ("flags", "features", "isa"):
                found |= {flag for flag in value.split() if flag.startswith(PREFIXES)}
    simd = np.show_config(mode="dicts") or {}
    extensions = simd.get("SIMD Extensions", {}) if isinstance(simd, dict) else {}
    return tuple(sorted(found | {f"numpy {name}" for name in extensions.get("found", ())}))


class Cache:
    """A private folder of built files."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, or check that it is ours alone.

        Raises:
            BadValue: If it is a link, belongs to another user, is open to others, or cannot be made.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            facts = folder.lstat()
        except OSError as error:
            want = "a folder that can be made; choose another cache"
            raise BadValue("cache", f"{folder}: {error.strerror}", want) from error
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise BadValue(
                "cache", f"{folder}, mode {facts.st_mode & 0o777:o}", "a folder of mode 700, yours"
            )
        self.folder = folder
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._features = cpu_features()
        for part in folder.glob(f"{PART}*"):
            with contextlib.suppress(OSError):
                if time.time() - part.lstat().st_mtime > STALE_S:
                    part.unlink()

    def key(self, onnx_sha256: str, backend: Backend) -> str:
        """Name of what the backend builds from that ONNX file here."""
        what = [FORMAT, onnx_sha256, backend.card.name, backend.runtime, backend.level, list(self._features)]
        return hashlib.sha256(canonical(what).encode()).hexdigest()

    def find(self, key: str) -> Path | None:
        """The built file, compared with its checksum; None if there is none.

        Raises:
            BadPortfolio: If the entry is damaged; `drop` it and build again.
        """
        entry = self.folder / f"{key}.json"
        if not entry.is_file():
            return None
        if entry.stat().st_size > LONGEST:
            raise BadPortfolio(
                f"entry of the cache must have at most {LONGEST} bytes, got {entry.stat().st_size}"
            )
        raw = read_json(entry)
        digest, size = (raw.get("sha256"), raw.get("size_bytes")) if isinstance(raw, dict) else (None, None)
        if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise BadPortfolio(f"entry of the cache must name a checksum, got {digest!r}")
        # A cut newline reads as the same value; what is not byte for byte as it was written is not trusted.
        if any(type(value) not in (str, int) for value in raw.values()) or entry.read_bytes() != json_bytes(
            raw
        ):
            raise BadPortfolio(
                f"entry of the cache must be as it was written, got other bytes in {entry.name[:16]}"
            )
        if raw.get("key") != key:
            raise BadPortfolio(f"entry of the cache must be for {key[:16]}, got {str(raw.get('key'))[:16]!r}")
        if raw.get("check") != checked(raw):
            raise BadDigest(f"checksum of an entry of the cache must be that of {key[:16]}, got another")
        with contextlib.suppress(OSError):  # a cache that cannot be written serves all the same
            os.utime(entry)  # see `sweep`: what was used last is swept last
        return self._checked(digest, size)

    def _checked(self, digest: str, size: object) -> Path:
        path = self.folder / f"{digest}{KEPT}"
        try:
            facts = path.lstat()
        except FileNotFoundError as error:
            raise BadPortfolio(f"file of the cache must be there, got none named {digest[:16]}") from error
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != size:
            raise BadDigest(f"file of the cache must have {size} bytes, got {facts.st_size}")
        known = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if self._verified.get(digest) != known:
            got = sha256_file(path)
            if got != digest:
                raise BadDigest(f"checksum of a cached file must be {digest[:16]}, got {got[:16]}")
            self._verified[digest] = known
        return path

    def build(self, key: str, backend: Backend, onnx: bytes) -> Path:
        """Build, keep and return the file for a key; an entry that is there is replaced, its file is not.

        Raises:
            BadPortfolio: If the backend refuses the model.
            DiskFull: If there is no room; nothing half-written stays.
        """
        with self._part() as part:
            backend.build(onnx, part)
            handle = os.open(part, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.fchmod(handle, 0o400)
            finally:
                os.close(handle)
            digest, size = sha256_file(part), part.stat().st_size
            target = self.folder / f"{digest}{KEPT}"
            os.replace(part, target)
            sync_folder(self.folder)
        facts = {"key": key, "sha256": digest, "size_bytes": size, "runtime": runtime_of(backend)}
        write_json(self.folder / f"{key}.json", {**facts, "check": checked(facts)})
        return self._checked(digest, size)

    @contextmanager
    def _part(self) -> Iterator[Path]:
        part = self.folder / f"{PART}{os.urandom(8).hex()}"
        try:
            yield part
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(f"disk must have room for {self.folder}, got a full disk") from error
            raise
        finally:
            part.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        """Forget an entry; a process that has its file mapped keeps it."""
        (self.folder / f"{key}.json").unlink(missing_ok=True)

    def recheck(self, path: Path) -> None:
        """Compare a built file with its checksum again, whatever is known of it.

        A process that has it mapped answers from these very pages.

        Raises:
            BadDigest: If it was changed where it lies, or is gone.
        """
        digest = path.name.removesuffix(KEPT)
        self._verified.pop(digest, None)
        try:
            self._checked(digest, path.stat().st_size)
        except FileNotFoundError as error:
            raise BadDigest(f"file of the cache must be there, got none named {digest[:16]}") from error

    def sweep(self, used: Collection[str], backend: Backend) -> int:
        """Remove what nobody finds again, and the oldest of what is not in use beyond a bound.

        Entries of another version of this backend go. Those of other models, levels, backends or CPUs stay as long as
        they take no more room than what is in use, or `SPARE_BYTES`; the last used stay. Files that no entry names
        go too. Nothing goes that was used or written in the last `STALE_S`: another process may be at it. A process
        that has a removed file mapped keeps it.

        Args:
            used: Keys in use; they stay.
            backend: Whose other versions are stale.

        Returns:
            The bytes gained.
        """
        old_s = time.time() - STALE_S
        found = [entry for path in self.folder.glob("*.json") if (entry := _entry(path)) is not None]
        bound = max(sum(e.size_bytes for e in found if e.key in used), SPARE_BYTES)
        kept: set[str] = set()
        gained = spare = 0
        for entry in sorted(found, key=lambda e: -e.used_s):
            stale = entry.backend == backend.card.name and entry.runtime != runtime_of(backend)
            spare += 0 if entry.key in used or stale else entry.size_bytes
            if entry.key not in used and entry.used_s < old_s and (stale or spare > bound):
                spare -= 0 if stale else entry.size_bytes
                gained += _removed(self.folder / f"{entry.key}.json", math.inf)
            else:
                kept.add(f"{entry.sha256}{KEPT}")
        for path in self.folder.glob(f"*{KEPT}"):
            if path.name not in kept:
                gained += _removed(path, old_s)
        return gained


@dataclass(frozen=True)
class Entry:
    """What an entry's file says, as far as sweeping asks; `used_s` is when it was last found."""

    key: str
    sha256: str
    size_bytes: int
    runtime: str
    used_s: float

    @property
    def backend(self) -> str:
        """Name of the backend that built the file."""
        return self.runtime.partition(":")[0]


def checked(entry: Mapping[str, Any]) -> str:
    """Checksum of what an entry says, but for this checksum."""
    return hashlib.sha256(canonical({k: v for k, v in entry.items() if k != "check"}).encode()).hexdigest()


def runtime_of(backend: Backend) -> str:
    """Name of a backend, and name and version of what it runs."""
    return f"{backend.card.name}: {backend.runtime}"


def _entry(path: Path) -> Entry | None:
    """An entry; None if it is not one, which `Cache.find` will say to whoever asks for it."""
    try:
        facts = path.lstat()
        raw = read_json(path) if facts.st_size <= LONGEST else None
    except (BadPortfolio, OSError):
        return None
    if not isinstance(raw, dict) or path.name != f"{raw.get('key')}.json":
        return None
    size = raw.get("size_bytes")
    return Entry(
        str(raw["key"]),
        str(raw.get("sha256")),
        size if type(size) is int and size > 0 else 0,
        str(raw.get("runtime", "")),
        facts.st_mtime,
    )


def _removed(path: Path, before_s: float) -> int:
    """Bytes of a file that was removed; 0 if it is younger, or gone already."""
    try:
        facts = path.lstat()
        if facts.st_mtime < before_s:
            path.unlink()
            return facts.st_size
    except OSError:
        return 0
    return 0
