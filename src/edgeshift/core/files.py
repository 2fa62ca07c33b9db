# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent: temp file, fsync, rename, fsync of the folder."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgeshift.core.errors import BadPortfolio, DiskFull

# No block left, no share of them left, or a limit on the size of one file: there is no room either way.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in 1 MiB pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path` complete, or not at all.

    Raises:
        DiskFull: If the disk is full; the temporary file is gone then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary: Path | None = None
    try:
        # Not tempfile: it makes files that only their owner can read, and a portfolio is handed on.
        with (path.parent / f".part-{secrets.token_hex(8)}").open("xb") as file:
            temporary = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"disk must have room for {path}, got a full disk; free some space and resume"
            ) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file; see `whole_file`."""
    with whole_file(path) as file:
        file.write(data)


def json_bytes(value: Any) -> bytes:
    """A value as `write_json` lays it down: sorted, indented, one newline at the end."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file; see `json_bytes` and `whole_file`."""
    write_bytes(path, json_bytes(value))


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        BadPortfolio: If the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadPortfolio(f"{path} must be JSON, got: {error}") from error
