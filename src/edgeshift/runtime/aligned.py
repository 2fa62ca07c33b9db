# SPDX-License-Identifier: Apache-2.0
"""Weights in a file of ONNX Runtime's own format, moved to where vector instructions read them at full speed.

The format is a flatbuffer that puts weights at any multiple of 4 bytes. Mapped and used in place, nearly every load of
64 bytes then touches two cache lines: an answer took 5 % longer on one CPU with AVX-512 and up to 25 % on another
(bench/runtime/aligned). A table in a flatbuffer says how far ahead its vectors lie, so each vector of weights can be
copied behind the end, to a multiple of 64, and the distance set anew; what it leaves is zero and becomes a hole in
the file.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

# Bytes of a cache line, and of the widest vector register.
LINE = 64
# Vectors below a page are not worth moving.
LEAST = 4096
# Places of fields in their tables, of ONNX Runtime's ort.fbs: session -> model -> graph -> initializers -> raw data.
MODEL, GRAPH, INITIALIZERS, RAW_DATA = 1, 7, 0, 4


def aligned(built: bytes) -> bytes:
    """The same model with its weights at multiples of `LINE` bytes from the start of the file.

    A file that is not laid out as ONNX Runtime 1.31 does comes back as it is; it works, at the speed it had.
    """
    found = bytearray(built)
    try:
        fields = [f for f in weights(built) if length(built, f) >= LEAST]
        if any((target(built, f) + 4) % LINE for f in fields):
            for field in fields:
                move(found, field)
    except struct.error:
        return built
    return bytes(found)


def move(buffer: bytearray, field: int) -> None:
    """Move the vector that a field points at behind the end, its first element to a multiple of `LINE`."""
    start, size = target(buffer, field), length(buffer, field)
    end = start + 4 + size
    if end > len(buffer):
        raise struct.error("a vector ends behind the file")
    vector = buffer[start:end]
    buffer[start:end] = bytes(len(vector))
    buffer.extend(bytes(-(len(buffer) + 4) % LINE))
    struct.pack_into("<I", buffer, field, len(buffer) - field)
    buffer.extend(vector)


def weights(buffer: bytes) -> Iterator[int]:
    """Places of the fields that point at the raw data of the graph's initializers.

    Raises:
        struct.error: If an offset leads out of the buffer.
    """
    table = target(buffer, 0)
    for number in (MODEL, GRAPH):
        table = target(buffer, needed(buffer, table, number))
    vector = target(buffer, needed(buffer, table, INITIALIZERS))
    (count,) = struct.unpack_from("<I", buffer, vector)
    for index in range(count):
        tensor = target(buffer, vector + 4 + 4 * index)
        if (found := field_of(buffer, tensor, RAW_DATA)) is not None:
            yield found


def target(buffer: bytes | bytearray, field: int) -> int:
    """Where a field points: its own place and the number in it."""
    return field + int(struct.unpack_from("<I", buffer, field)[0])


def length(buffer: bytes | bytearray, field: int) -> int:
    """Elements of the vector that a field points at."""
    return int(struct.unpack_from("<I", buffer, target(buffer, field))[0])


def needed(buffer: bytes, table: int, number: int) -> int:
    """The place of a field that must be there."""
    found = field_of(buffer, table, number)
    if found is None:
        raise struct.error(f"a table lacks field {number}")
    return found


def field_of(buffer: bytes, table: int, number: int) -> int | None:
    """The place of a table's field by its number; None if the table leaves it out."""
    virtual = table - struct.unpack_from("<i", buffer, table)[0]
    if virtual < 0:
        raise struct.error("a table's list of fields lies before the file")
    (size,) = struct.unpack_from("<H", buffer, virtual)
    entry = 4 + 2 * number
    if entry >= size:
        return None
    (offset,) = struct.unpack_from("<H", buffer, virtual + entry)
    return table + offset if offset else None


def write_holes(path: Path, data: bytes) -> None:
    """Write a file in which pages of zeros take no room, where the file system can leave them out."""
    page, blank = LEAST, bytes(LEAST)
    with path.open("wb") as file:
        for start in range(0, len(data), page):
            part = data[start : start + page]
            if part == blank:
                file.seek(page, os.SEEK_CUR)
            else:
                file.write(part)
        file.truncate(len(data))
