# SPDX-License-Identifier: Apache-2.0
"""Blobs named by their own checksum: written once, never changed, never outside the folder."""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from edgeshift.core.errors import BadDigest, BadPortfolio, BadValue, FolderTaken
from edgeshift.core.files import sha256_file, sync_folder, whole_file, write_bytes
from edgeshift.core.values import FileRef

BLOBS = "blobs"
PART = ".part-"
PIECE = 1 << 20


def is_plain(path: Path) -> bool:
    """Whether a path is a regular file and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def put(folder: Path, content: bytes | Path) -> FileRef:
    """Store one file under its checksum; storing it twice stores it once.

    Args:
        folder: The portfolio.
        content: The bytes, or a file to copy.

    Returns:
        The reference to write into the manifest.

    Raises:
        BadValue: If the file to copy is missing, or changes while it is copied.
        DiskFull: If there is no room.
    """
    if isinstance(content, Path) and not content.is_file():
        raise BadValue("file to store", str(content), "an existing file")
    digest = sha256_file(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
    target = folder / BLOBS / digest
    if is_plain(target) and sha256_file(target) == digest:
        return FileRef(f"{BLOBS}/{digest}", digest, target.stat().st_size)
    size = 0
    with whole_file(target) as file:
        if isinstance(content, Path):
            written = hashlib.sha256()
            with content.open("rb") as source:
                while piece := source.read(PIECE):
                    written.update(piece)
                    file.write(piece)
                    size += len(piece)
            if written.hexdigest() != digest:
                raise BadValue("file to store", str(content), "a file that nobody writes meanwhile")
        else:
            file.write(content)
            size = len(content)
        os.fchmod(file.fileno(), 0o444)
    return FileRef(f"{BLOBS}/{digest}", digest, size)


def put_new(path: Path, data: bytes) -> None:
    """Write a file that will never be written again.

    Raises:
        FolderTaken: If there is one of that name.
        DiskFull: If there is no room; nothing half-written stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f"{PART}{secrets.token_hex(8)}"
    try:
        write_bytes(part, data)
        part.chmod(0o444)
        os.link(part, path)  # unlike a rename, it never replaces what is there
    except FileExistsError as error:
        raise FolderTaken(f"{path} must be written once, got one that is there already") from error
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def locate(folder: Path, file: FileRef) -> Path:
    """Where a blob lies, after checking that the path cannot lead elsewhere.

    Raises:
        BadPortfolio: If the path is not that of a blob, or the file is missing, or a link is on the way.
    """
    if file.path != f"{BLOBS}/{file.sha256}":
        raise BadPortfolio(f"path of a file must be {BLOBS}/<its sha256>, got {file.path!r}")
    if (folder / BLOBS).is_symlink():
        raise BadPortfolio(f"{BLOBS} must be a folder inside the portfolio, got a link")
    path = folder / BLOBS / file.sha256
    if not is_plain(path):
        raise BadPortfolio(
            f"{file.path} must be a plain file, got {'a link or folder' if os.path.lexists(path) else 'none'}"
        )
    return path


def check(folder: Path, file: FileRef) -> Path:
    """The blob's path, after checking its size and checksum.

    Raises:
        BadPortfolio: If anything differs from the reference.
    """
    path = locate(folder, file)
    if path.stat().st_size != file.size_bytes:
        raise BadDigest(f"{file.path} must have {file.size_bytes} bytes, got {path.stat().st_size}")
    digest = sha256_file(path)
    if digest != file.sha256:
        raise BadDigest(f"checksum of {file.path} must be {file.sha256[:16]}..., got {digest[:16]}...")
    return path


def fetch(folder: Path, file: FileRef) -> bytes:
    """The bytes of a blob; they, not the file, were compared with the checksum.

    Raises:
        BadPortfolio: If anything differs from the reference.
    """
    data = locate(folder, file).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise BadDigest(f"checksum of {file.path} must be {file.sha256[:16]}..., got {digest[:16]}...")
    return data


def leftovers(folder: Path, used: set[str]) -> list[Path]:
    """Blobs that no variant names and halves of files that a crash left, sorted.

    Args:
        folder: The portfolio.
        used: Checksums that the manifest names.
    """
    blobs = folder / BLOBS
    found = [p for p in (*folder.glob(f"{PART}*"), *folder.glob(f"*/{PART}*")) if is_plain(p)]
    if blobs.is_dir() and not blobs.is_symlink():
        found += [p for p in blobs.iterdir() if p.name not in used and is_plain(p)]
    return sorted(set(found))
