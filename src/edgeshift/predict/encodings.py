# SPDX-License-Identifier: Apache-2.0
"""Search-space codes as features: how often each operator runs, in the graph as written and after a compiler.

A feature's name says how it may be used. `view/name`: the same quantity in one view of the graph; a device
follows one view. `at/place_name`: one-hot code of one place. `log_name`: logarithm of 1 + a sum.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# NAS-Bench-201: the six edges of a cell in the order of its index, and its operators.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)
CELL_OPERATORS = ("none", "skip", "conv_1x1", "conv_3x3", "pool")
CELL_FEATURES = (*CELL_OPERATORS, "add", "depth", "log_macs")
# Five cells at each of three widths, every one 16 * 16 * 32 * 32 multiply-accumulates per 1x1 convolution;
# the rest of the skeleton is 7.78 million.
CELLS, CONV_MACS, REST_MACS = 15, 16 * 16 * 32 * 32, 7.78e6

Cell = tuple[int, ...]


def written(cell: Cell) -> Cell:
    """The cell as it is: PyTorch runs every operator, dead ones too."""
    return cell


def live(cell: Cell) -> Cell:
    """Only what lies on a path from input to output; all other edges become `none`."""
    reached, useful = {0}, {3}
    for (source, end), operator in zip(EDGES, cell, strict=True):
        if operator and source in reached:
            reached.add(end)
    for (source, end), operator in reversed(list(zip(EDGES, cell, strict=True))):
        if operator and end in useful:
            useful.add(source)
    return tuple(
        operator if source in reached and end in useful else NONE
        for (source, end), operator in zip(EDGES, cell, strict=True)
    )


def pruned(cell: Cell) -> Cell:
    """What stays where a converter drops a node that only `none` reads, unless a zero is added into it.

    So behave the graphs that HW-NAS-Bench (https://arxiv.org/abs/2103.10584) measured: an operator on zeros
    runs, and a dead node stays when one of its inputs is the `none` of a node that stays. The rule was read
    off the 64 cells of `none` and 3x3 convolutions alone, whose latencies count convolutions.
    """
    e0, e1, e2, e3, e4, e5 = cell
    first_dead = bool(e0) and not e4
    second_dead = not e5 and bool(e1) and (bool(e2) or first_dead)
    if second_dead:
        e1 = e2 = NONE
        if first_dead:
            e0 = NONE
    return (e0, e1, e2, e3, e4, e5)


VIEWS: dict[str, Callable[[Cell], Cell]] = {"written": written, "live": live, "pruned": pruned}


def canonical(cell: Cell) -> str:
    """What a cell computes as a sum of operator chains; equal texts are equal functions, "" is constant."""
    terms: dict[int, tuple[str, ...]] = {0: ("x",)}
    for node in (1, 2, 3):
        found: list[str] = []
        for (source, end), operator in zip(EDGES, cell, strict=True):
            if end == node and operator and terms.get(source):
                inside = "+".join(terms[source])
                found += terms[source] if operator == SKIP else [f"{operator}({inside})"]
        terms[node] = tuple(sorted(found))
    return "+".join(terms[3])


def twin(cell: Cell) -> Cell | None:
    """The cell with its two middle nodes swapped: the same graph, measured twice; None if they are tied."""
    e0, e1, e2, e3, e4, e5 = cell
    return None if e2 else (e1, e0, NONE, e3, e5, e4)


def cell_counts(cell: Cell) -> list[float]:
    """`CELL_FEATURES` of one cell."""
    entering = [sum(1 for (_, end), o in zip(EDGES, cell, strict=True) if end == n and o) for n in (1, 2, 3)]
    depth = {0: 0}
    for node in (1, 2, 3):
        before = [
            depth[source] + (operator != SKIP)
            for (source, end), operator in zip(EDGES, cell, strict=True)
            if end == node and operator
        ]
        depth[node] = max(before, default=0)
    macs = REST_MACS + CELLS * CONV_MACS * (cell.count(CONV_1X1) + 9 * cell.count(CONV_3X3))
    adds = sum(max(0, n - 1) for n in entering)
    return [*(float(cell.count(o)) for o in range(5)), float(adds), float(depth[3]), math.log1p(macs)]


def cell_features(cells: NDArray[np.int8]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and `(n, d)` features of NAS-Bench-201 cells: counts in each view, and the one-hot code.

    Args:
        cells: `(n, 6)`, operator of each edge, an index into `CELL_OPERATORS`.
    """
    known: dict[Cell, list[float]] = {}
    rows = [tuple(int(o) for o in cell) for cell in cells]
    for cell in rows:
        if cell not in known:
            known[cell] = [value for view in VIEWS.values() for value in cell_counts(view(cell))]
    names = tuple(f"{view}/{name}" for view in VIEWS for name in CELL_FEATURES)
    places, code = one_hot(cells, CELL_OPERATORS)
    return (*names, *places), np.hstack([np.array([known[cell] for cell in rows], np.float64), code])


def one_hot(codes: NDArray[np.int8], names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names `at/place_name` and `(n, places * names)` ones and zeros.

    Args:
        codes: `(n, places)`, each an index into `names`; -1 = nothing there.
        names: Of the choices.
    """
    found = codes[:, :, None] == np.arange(len(names))
    labels = tuple(f"at/{place}_{name}" for place in range(codes.shape[1]) for name in names)
    return labels, found.reshape(len(codes), -1).astype(np.float64)


# FBNet on CIFAR-100 (HW-NAS-Bench): blocks, output channels and first stride of each stage.
STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
# Kernel, expansion and groups of each choice; the last is no block.
BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1), (0, 0, 0))
BLOCK_NAMES = tuple(f"k{k}_e{e}" + (f"_g{g}" if g > 1 else "") if k else "skip" for k, e, g in BLOCKS)
FBNET_SUMS = ("log_macs", "log_params", "log_activations")


def fbnet_features(blocks: NDArray[np.int8]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and `(n, d)` features of FBNet networks: blocks by kind, depth, sums, and the one-hot code.

    Args:
        blocks: `(n, 22)`, choice of each block, an index into `BLOCK_NAMES`.
    """
    table, identity = _fbnet_table()
    places = np.arange(blocks.shape[1])
    sums = table[places, blocks].sum(1) + np.array([3 * 16 * 9 * 1024 + 352 * 1504 * 16, 5.9e5, 4e4])
    count = np.stack([(blocks == choice).sum(1) for choice in range(len(BLOCKS))], 1)
    gone = ((blocks == len(BLOCKS) - 1) & identity).sum(1)
    large = np.isin(blocks, (4, 5, 6, 7)).sum(1)
    edges = np.cumsum([0, *(n for n, _, _ in STAGES)])
    early = [((blocks != len(BLOCKS) - 1)[:, a:b]).sum(1) for a, b in pairwise(edges)][1:-1]
    own = [*count.T, len(places) - gone, large, *early, *np.log1p(sums).T]
    labels = [f"count_{name}" for name in BLOCK_NAMES] + ["depth", "large_kernels"]
    labels += [f"depth_{stage}" for stage in range(2, 7)] + list(FBNET_SUMS)
    at, code = one_hot(blocks, BLOCK_NAMES)
    return (*labels, *at), np.hstack([np.stack(own, 1).astype(np.float64), code])


def _fbnet_table() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """MACs, parameters and outputs of each choice at each place; whether `skip` there is no operator at all."""
    table, identity = [], []
    channels, side = 16, 32
    for blocks, out, stride in STAGES:
        for block in range(blocks):
            step = stride if block == 0 else 1
            rows = []
            after = side // step
            for kernel, expansion, groups in BLOCKS:
                if kernel:
                    middle = channels * expansion
                    widen, narrow = channels * middle // groups, middle * out // groups
                    depthwise = middle * kernel**2
                    macs = widen * side**2 + (depthwise + narrow) * after**2
                    rows.append(
                        (macs, widen + depthwise + narrow, middle * side**2 + (middle + out) * after**2)
                    )
                elif step == 1 and channels == out:
                    rows.append((0, 0, 0))
                else:
                    rows.append((channels * out * after**2, channels * out, out * after**2))
            table.append(rows)
            identity.append(step == 1 and channels == out)
            channels, side = out, after
    return np.array(table, np.float64), np.array(identity)


# Once-for-all MobileNetV3: output channels, first stride and squeeze-excite of the five stages.
OFA_STAGES = ((24, 2, False), (40, 2, True), (80, 2, False), (112, 1, True), (160, 2, True))


def ofa_features(
    kernels: NDArray[np.int8],
    expansions: NDArray[np.int8],
    depths: NDArray[np.int8],
    sides: NDArray[np.int16],
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and `(n, d)` features of once-for-all MobileNetV3 networks.

    Args:
        kernels: `(n, 20)` of 3, 5, 7; block i belongs to stage i // 4.
        expansions: `(n, 20)` of 3, 4, 6.
        depths: `(n, 5)` of 2, 3, 4: a stage's blocks that exist.
        sides: `(n,)`, input resolution.
    """
    n = len(kernels)
    exists = (np.arange(20) % 4)[None] < np.repeat(depths, 4, axis=1)
    macs, params, written_ = (np.zeros((n, 20)) for _ in range(3))
    before, side = 16, np.ceil(sides / 2)
    for stage, (out, stride, squeeze) in enumerate(OFA_STAGES):
        for block in range(4):
            i = 4 * stage + block
            middle = before * expansions[:, i].astype(float)
            after = np.ceil(side / stride) if block == 0 else side
            taps = kernels[:, i].astype(float) ** 2
            macs[:, i] = middle * (before * side**2 + (taps + out) * after**2)
            params[:, i] = middle * (before + taps + out) + (middle**2 / 2 if squeeze else 0)
            written_[:, i] = middle * side**2 + (middle + out) * after**2
            before, side = out, after
    own = [exists.sum(1)]
    labels = ["depth"]
    for name, choices, values in (("kernel", (3, 5, 7), kernels), ("expand", (3, 4, 6), expansions)):
        for choice in choices:
            own.append(((values == choice) & exists).sum(1))
            labels.append(f"{name}_{choice}")
    for stage in range(5):
        own.append(depths[:, stage])
        labels.append(f"depth_{stage}")
        own.append(np.log1p((macs * exists)[:, 4 * stage : 4 * stage + 4].sum(1)))
        labels.append(f"log_macs_{stage}")
    for name, sums in (("macs", macs), ("params", params), ("activations", written_)):
        own.append(np.log1p((sums * exists).sum(1)))
        labels.append(f"log_{name}")
    own.append(np.log1p(sides.astype(float) ** 2))
    labels.append("log_pixels")
    code = np.where(
        exists, 3 * np.searchsorted((3, 5, 7), kernels) + np.searchsorted((3, 4, 6), expansions), -1
    )
    at, present = one_hot(code.astype(np.int8), tuple(f"k{k}_e{e}" for k in (3, 5, 7) for e in (3, 4, 6)))
    return (*labels, *at), np.hstack([np.stack(own, 1).astype(np.float64), present])
