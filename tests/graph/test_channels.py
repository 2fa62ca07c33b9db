# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeshift.graph.channels import (
    ChannelGraph,
    Node,
    Value,
    along,
    any_along,
    fit_reads,
    groups_of_reshape,
    narrow,
    reshape_array,
    same_along,
)

NAN = float("nan")


def test_a_graph_numbers_its_values_and_knows_who_takes_them() -> None:
    graph = ChannelGraph()
    x, w, y, z = (graph.add_value(Value((2, 3), name)) for name in "xwyz")
    graph.nodes.append(Node("linear", (x, w, None), (y,), {}, "source"))
    graph.nodes.append(Node("elementwise", (y, y), (z,), {}, "source"))
    assert (x, w, y, z) == (0, 1, 2, 3)
    assert graph.users() == {0: [0], 1: [0], 2: [1, 1]}
    assert graph.shape(z) == (2, 3)


@pytest.mark.parametrize(
    ("old", "new", "groups"),
    [
        ((2, 8, 4, 4), (2, 128), [([0], [0]), ([1, 2, 3], [1])]),
        ((2, 128), (2, 8, 4, 4), [([0], [0]), ([1], [1, 2, 3])]),
        ((2, 8, 4, 4), (2, 2, 4, 4, 4), [([0], [0]), ([1], [1, 2]), ([2], [3]), ([3], [4])]),
        ((2, 3, 4), (6, 4), [([0, 1], [0]), ([2], [1])]),
        ((4, 6), (6, 4), [([0, 1], [0, 1])]),
        ((2, 5), (2, 1, 5), [([0], [0]), ([1], [1, 2])]),
        ((2, 5, 1, 1), (2, 5), [([0], [0]), ([1], [1]), ([2], []), ([3], [])]),
        ((), (1, 1), [([], [0]), ([], [1])]),
        ((2, 0, 3), (2, 0), [([0], [0]), ([1], [1]), ([2], [])]),
    ],
)
def test_a_reshape_splits_into_runs_of_equal_products(
    old: tuple[int, ...], new: tuple[int, ...], groups: list[tuple[list[int], list[int]]]
) -> None:
    found = groups_of_reshape(old, new)
    assert sorted(d for left, _ in found for d in left) == list(range(len(old)))
    assert sorted(d for _, right in found for d in right) == list(range(len(new)))
    if 0 not in old:
        assert found == groups


def test_reshape_keeps_size_one_where_all_is_the_same() -> None:
    channel = np.array([1.0, 2.0]).reshape(1, 2, 1)
    flat = reshape_array(channel, (7, 2, 3), (7, 6))
    assert flat.tolist() == [[1, 1, 1, 2, 2, 2]]
    back = reshape_array(flat, (7, 6), (7, 2, 3))
    assert back.shape == (1, 2, 3)
    assert narrow(back).tolist() == channel.tolist()


def test_nan_is_the_same_as_nan() -> None:
    assert same_along(np.array([[NAN, NAN]]), 1)
    assert not same_along(np.array([[NAN, 1.0]]), 1)
    assert same_along(np.zeros((0, 1)), 1)


def test_along_knows_a_channel_only_where_all_else_agrees() -> None:
    array = np.array([[[1.0, 1.0], [2.0, 3.0], [4.0, NAN]]])
    np.testing.assert_array_equal(along(array, 1, 3), [1, NAN, NAN])
    np.testing.assert_array_equal(along(np.full((1, 1), 5.0), 1, 3), [5, 5, 5])


def test_any_along_asks_every_other_axis() -> None:
    array = np.zeros((1, 3, 2), np.bool_)
    array[0, 2, 1] = True
    assert any_along(array, 1, 3).tolist() == [False, False, True]
    assert any_along(np.ones((1, 1, 1), np.bool_), 1, 3).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("shape", "want"),
    [((2,), [True, False]), ((1, 2), [[True, False]]), ((3, 1), [[True], [False], [False]]), ((), True)],
)
def test_reads_shrink_to_the_shape_that_was_broadcast(shape: tuple[int, ...], want: object) -> None:
    reads = np.zeros((3, 2), np.bool_)
    reads[0, 0] = True
    found = fit_reads(reads, shape)
    assert (bool(found.any()) if shape == () else found.tolist()) == want
