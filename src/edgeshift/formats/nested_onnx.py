# SPDX-License-Identifier: Apache-2.0
"""ONNX files of the variants of a nested file: graphs without weights, and the bytes that put them in.

A protobuf message that comes twice is merged, so appending a second graph that holds only tensors adds them to
the first one; neither onnx nor torch is needed. Field numbers: see `edgeshift.formats.wire`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeshift.core.errors import BadPortfolio
from edgeshift.formats.nested import Array, Axis, Nested
from edgeshift.formats.onnx_write import block, whole
from edgeshift.formats.wire import refuse_external_data

# Numbers of TensorProto.DataType.
KINDS = {"<f4": 1, "|u1": 2, "|i1": 3, "<i4": 6, "<i8": 7, "|b1": 9, "<f2": 10, "<f8": 11}
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 8, 9, 13, 14
KEY, VALUE, EXTERNAL = 1, 2, 1
# Kinds of graphs in a nested file: as exported, and with convolutions split at the blocks.
WHOLE, VIEWS = "onnx", "views"
# The one graph that serves all variants, where they differ by widths only.
JOINED = "joined"
# Separates a tensor's name from the number of its block; in no name of a torch tensor.
BLOCK = "#"


def graph_name(kind: str, variant: int) -> str:
    """Name of a variant's graph among the files of a nested file."""
    return f"{variant}.{kind}"


def whole_onnx(nested: Nested, variant: int) -> bytes:
    """The ONNX file of a variant, every tensor inside.

    Raises:
        BadPortfolio: If the file lacks the graph, or is damaged.
    """
    tensors = nested.tensors(variant)
    return with_tensors(_graph(nested, WHOLE, variant), tensors)


def _graph(nested: Nested, kind: str, variant: int) -> bytes:
    name = graph_name(kind, variant)
    if name not in nested.files:
        raise BadPortfolio(f"{nested.path.name} must hold graph {name}, got {sorted(nested.files)}")
    # Only what we add ourselves may point into a file, and it points into this one.
    refuse_external_data(nested.files[name])
    return nested.files[name]


@dataclass(frozen=True)
class Placed:
    """One tensor of a views graph.

    Attributes:
        array: What the runtime uses; lies in the mapped file unless it is a copy.
        offset: Its first byte in the file; -1 for a copy.
    """

    array: Array
    offset: int


def placed(nested: Nested, variant: int) -> dict[str, Placed]:
    """Tensors of a variant's views graph: blocks in the mapped file, and copies of what no prefix can be."""
    found: dict[str, Placed] = {}
    for name, axes in nested.axes.items():
        if name in nested.own:
            offset, array = nested.own_block(name, variant)
            found[name] = Placed(array, offset)
            continue
        blocks = nested.blocks(name, variant)
        if len(blocks) == 1 and all(axis.is_sorted(variant) for axis in axes):
            found[name] = Placed(blocks[0][1], blocks[0][0])
            continue
        for number, (offset, array) in enumerate(blocks):
            found[f"{name}{BLOCK}{number}"] = Placed(array, offset)
        found[name] = Placed(np.empty(0, np.float32), -1)
    return found


def views_onnx(nested: Nested, variant: int) -> tuple[bytes, dict[str, Array], int]:
    """The ONNX file of a variant whose tensors lie in the nested file.

    Returns:
        The ONNX file, whose tensors point into the nested file; name -> the array to hand to the runtime beside it,
        so that the file is mapped once; bytes of the arrays that are copies.

    Raises:
        BadPortfolio: If the file lacks the graph, or is damaged.
    """
    graph = _graph(nested, VIEWS, variant)
    places = placed(nested, variant)
    wanted = nested.files[graph_name(VIEWS, variant) + ".names"].decode().split()
    tensors, arrays, copied = b"", {}, 0
    for name in wanted:
        place = places.get(name)
        if place is None:
            raise BadPortfolio(f"{nested.path.name} must hold tensor {name}, got none of that name")
        if place.offset < 0:
            array = nested.tensor(name, variant)
            copied += array.nbytes
            tensors += block(INITIALIZER, _tensor(name, array, array.tobytes()))
            continue
        arrays[name] = place.array
        tensors += block(INITIALIZER, _pointer(name, place.array, nested.path.name, place.offset))
    return graph + block(GRAPH, tensors), arrays, copied


def block_names(name: str, axes: Sequence[Axis]) -> list[str]:
    """Inputs of the joined graph that a shared tensor is made of: itself, or one for each block of its columns."""
    if len(axes) < 2 or len(axes[1].shells) == 1:
        return [name]
    return [f"{name}{BLOCK}{number}" for number in range(len(axes[1].shells))]


def own_names(kind: str) -> tuple[str, str]:
    """Inputs of the joined graph: a variant's own tensors of a type one after the other, and the length of each."""
    return f"{kind}{BLOCK}own", f"{kind}{BLOCK}sizes"


def joined_onnx(nested: Nested) -> bytes | None:
    """The graph that serves all variants; None in a file whose variants differ by more than widths, or that is older.

    Raises:
        BadPortfolio: If the file is damaged, or the graph points into another file.
    """
    graph = nested.files.get(JOINED)
    if graph is not None:
        refuse_external_data(graph)
    return graph


def joined_arrays(nested: Nested, variant: int) -> dict[str, Array]:
    """The inputs of the joined graph that make it a variant; blocks that it lacks have no columns.

    No weight is copied.
    """
    found: dict[str, Array] = {}
    for name, axes in nested.axes.items():
        if name in nested.own:
            continue
        blocks = [array for _, array in nested.blocks(name, variant)]
        names = block_names(name, axes)
        rows, _, *rest = (*blocks[0].shape, 0, 0)[: max(2, blocks[0].ndim)]
        none = np.empty((rows, 0, *rest), blocks[0].dtype)
        found |= dict(zip(names, [*blocks, *[none] * (len(names) - len(blocks))], strict=True))
    for kind, numbers in nested.own_blocks(variant).items():
        sizes = [np.prod(nested.shape(n, variant)) for n, dtype in nested.own.items() if dtype.str == kind]
        found |= dict(zip(own_names(kind), (numbers, np.array(sizes, np.int64)), strict=True))
    return found


def with_tensors(graph: bytes, tensors: Mapping[str, Array]) -> bytes:
    """A graph with weights.

    Args:
        graph: ONNX file whose nodes read tensors that it lacks.
        tensors: Name -> array; those that no node reads do no harm.
    """
    parts = [block(INITIALIZER, _tensor(n, a, np.ascontiguousarray(a).tobytes())) for n, a in tensors.items()]
    return graph + block(GRAPH, b"".join(parts))


def _tensor(name: str, array: Array, data: bytes) -> bytes:
    return _about(name, array) + block(RAW_DATA, data)


def _pointer(name: str, array: Array, file: str, offset: int) -> bytes:
    facts = {"location": file, "offset": str(offset), "length": str(array.nbytes)}
    entries = [
        block(EXTERNAL_DATA, block(KEY, key.encode()) + block(VALUE, value.encode()))
        for key, value in facts.items()
    ]
    return _about(name, array) + b"".join(entries) + whole(DATA_LOCATION, EXTERNAL)


def _about(name: str, array: Array) -> bytes:
    dims = b"".join(whole(DIMS, size) for size in array.shape)
    return dims + whole(DATA_TYPE, KINDS[array.dtype.str]) + block(NAME, name.encode())
