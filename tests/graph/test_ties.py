# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeshift.graph.analyse import Verdict, make_whole
from edgeshift.graph.channels import ChannelGraph, Value
from edgeshift.graph.facts import Facts
from edgeshift.graph.ties import Labels, Ties


def ties_over(*shapes: tuple[int, ...], param: str = "") -> Ties:
    """Ties over a graph of values without nodes."""
    graph = ChannelGraph()
    for i, shape in enumerate(shapes):
        graph.add_value(Value(shape, f"v{i}", param and f"{param}{i}"))
    return Ties(graph)


def whole(ties: Ties, *alive: int) -> NDArray[np.bool_]:
    """Atoms that stay once every block is full, if these must."""
    ties.settle()
    mask = np.zeros(ties.used, np.bool_)
    mask[list(alive)] = True
    verdict = Verdict(ties.graph, ties, Facts(ties.graph), mask)
    make_whole(verdict)
    return verdict.alive


def test_tied_atoms_have_one_root_however_long_the_chain() -> None:
    ties = ties_over()
    atoms = ties.fresh(5000)
    ties.union(atoms[:-1], atoms[1:])
    assert set(ties.roots(atoms).tolist()) == {0}


def test_ties_are_those_of_plain_union_find() -> None:
    ties, rng = ties_over(), np.random.default_rng(0)
    atoms = ties.fresh(60)
    a, b = rng.integers(0, 60, (2, 40))
    ties.union(atoms[a], atoms[b])
    group = list(range(60))
    for x, y in zip(a, b, strict=True):
        group = [group[x] if g == group[y] else g for g in group]
    roots = ties.roots(atoms)
    assert all((group[i] == group[j]) == (roots[i] == roots[j]) for i in range(60) for j in range(60))


def test_the_axes_of_a_parameter_get_atoms_once() -> None:
    ties = ties_over((3, 4), param="w")
    assert ties.param_axis(0, 0) is ties.param_axis(0, 0)
    assert len(ties.param_axis(0, 1)) == 4


def test_a_pinned_parameter_stays_whole_wherever_it_is_met_later() -> None:
    ties = ties_over((3, 4), param="w")
    ties.pin_value(0)
    pinned = set(np.concatenate(ties.pinned).tolist())
    assert {*ties.param_axis(0, 0).tolist(), *ties.param_axis(0, 1).tolist()} <= pinned


def test_one_axis_that_must_stay_pins_all_it_is_tied_to() -> None:
    ties = ties_over((2, 3), (2, 3))
    atoms = ties.fresh(3)
    ties.labels[0] = Labels([None, atoms])
    assert ties.tie_axes([(0, 1), (1, 1)]) is None
    assert np.concatenate(ties.pinned).tolist() == atoms.tolist()


def test_flatten_repeats_each_atom_over_its_positions() -> None:
    ties = ties_over()
    atoms = ties.fresh(3)
    labels = ties.reshape(Labels([None, atoms, None, None]), (2, 3, 2, 2), (2, 12))
    assert labels.cells is None
    assert labels.axes[1].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    back = ties.reshape(labels, (2, 12), (2, 3, 4))
    assert back.axes[1].tolist() == [0, 1, 2]
    assert back.axes[2] is None


def test_a_split_of_channels_makes_a_block() -> None:
    ties = ties_over()
    atoms = ties.fresh(6)
    labels = ties.reshape(Labels([None, atoms]), (5, 6), (5, 2, 3))
    assert labels.cells is not None
    assert labels.box_axes() == [1, 2]
    assert labels.cells[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert len(ties.boxes) == 1
    assert ties.reshape(labels, (5, 2, 3), (5, 6)).axes[1].tolist() == atoms.tolist()


def test_two_tracked_axes_that_merge_are_pinned() -> None:
    ties = ties_over()
    a, b = ties.fresh(2), ties.fresh(3)
    labels = ties.reshape(Labels([a, b]), (2, 3), (6,))
    assert labels.axes == [None]
    assert sorted(np.concatenate(ties.pinned).tolist()) == [0, 1, 2, 3, 4]


def test_permute_and_take_follow_the_atoms() -> None:
    ties = ties_over()
    atoms = ties.fresh(3)
    labels = ties.permute(Labels([None, atoms, None]), (2, 0, 1))
    assert labels.axes[2].tolist() == [0, 1, 2]
    assert ties.take(labels, 2, np.array([2, 0])).axes[2].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("alive", "stays"),
    [
        ([0, 1, 3], [0, 1, 3, 4]),  # the second row is filled up with its first dead cell
        ([5], [5]),  # one row, one cell
        ([0, 5], [0, 5]),  # one each: full already
        ([], [0]),  # nothing would leave an empty block
    ],
)
def test_rows_of_a_block_keep_equally_many(alive: list[int], stays: list[int]) -> None:
    ties = ties_over()
    cells = ties.fresh(6).reshape(2, 3)
    ties.add_box(cells)
    kept = whole(ties, *alive)
    assert np.flatnonzero(kept[:6]).tolist() == stays


def test_a_strict_block_keeps_the_same_columns_in_every_row() -> None:
    ties = ties_over()
    cells = ties.fresh(6).reshape(2, 3)
    ties.add_box(cells).strict = True
    assert np.flatnonzero(whole(ties, 0, 5)[:6]).tolist() == [0, 2, 3, 5]


def test_a_pinned_row_keeps_a_cell() -> None:
    ties = ties_over()
    cells, rows = ties.fresh(6).reshape(2, 3), ties.fresh(2)
    ties.add_box(cells, [rows])
    assert np.flatnonzero(whole(ties, 4, *rows.tolist())[:6]).tolist() == [0, 4]


def test_no_axis_loses_its_last_channel() -> None:
    ties = ties_over((2, 4))
    ties.labels[0] = Labels([None, ties.fresh(4)])
    assert whole(ties).tolist() == [True, False, False, False]
