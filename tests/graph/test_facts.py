# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeshift.graph.channels import ChannelGraph, Node, Value
from edgeshift.graph.facts import Demands, Facts
from edgeshift.graph.ties import Labels, Ties

NAN, INF = float("nan"), float("inf")


def facts_of(*data: object, shape: tuple[int, ...] = ()) -> Facts:
    """Facts over parameters with these numbers, then one unknown value of a shape."""
    graph = ChannelGraph()
    for i, numbers in enumerate(data):
        array = np.asarray(numbers, np.float32)
        graph.add_value(Value(array.shape, f"p{i}", f"p{i}", data=array))
    graph.add_value(Value(shape, "x"))
    return Facts(graph)


def test_nothing_is_known_and_nothing_read_at_first() -> None:
    facts = facts_of(shape=(2, 3))
    assert np.isnan(facts.channel(0, 1)).tolist() == [True] * 3
    assert not facts.needed(0).any()


def test_a_parameter_is_its_own_constant_but_for_what_is_not_finite() -> None:
    facts = facts_of([1.0, NAN, INF])
    np.testing.assert_array_equal(facts.constant(0), [1, NAN, NAN])


@pytest.mark.parametrize(
    ("numbers", "tainted"), [([1.0, 0.0], False), ([NAN, 0.0], True), ([[0.0, -INF]], True), ([1e-42], False)]
)
def test_nan_or_infinity_taints(numbers: object, tainted: bool) -> None:
    assert facts_of(numbers).is_tainted(0) is tainted


def test_infinities_of_both_signs_taint_too() -> None:
    assert facts_of([[INF, -INF]]).is_tainted(0)


def test_what_is_known_is_not_needed_however_much_it_is_read() -> None:
    facts = facts_of(shape=(2, 3, 4))
    facts.const[0] = np.array([NAN, 0.0, NAN]).reshape(1, 3, 1)
    facts.add_read(0, np.array([True, True, False]).reshape(1, 3, 1))
    assert facts.needed_channels(0, 1).tolist() == [True, False, False]


def test_reads_of_a_broadcast_reach_the_small_tensor() -> None:
    facts = facts_of(shape=(3,))
    facts.add_read(0, np.array([[[False]], [[True]]]))
    assert facts.read[0].tolist() == [True]
    facts = facts_of(shape=(3, 1))
    facts.add_read(0, np.array([[[False, True], [False, False], [False, False]]]))
    assert facts.read[0].tolist() == [[True], [False], [False]]


def test_numbers_are_known_where_every_entry_is() -> None:
    facts = facts_of(shape=(2, 2))
    assert facts.numbers(0) is None
    facts.const[0] = np.array([[1.0], [2.0]])
    assert facts.numbers(0).tolist() == [[1, 1], [2, 2]]


def test_a_pair_is_zero_only_where_all_its_taps_are_and_nan_is_not() -> None:
    facts = facts_of([[[0.0, 0.0], [1e-42, 0.0]], [[-1.0, 1.0], [NAN, 0.0]]])
    assert facts.pairs_of(0).tolist() == [[False, True], [True, True]]


def test_an_operator_without_a_rule_reads_all_of_every_input() -> None:
    graph = ChannelGraph()
    for name in "xyz":
        graph.add_value(Value((2, 3), name))
    node = Node("opaque", (0, 1), (2,), {}, "aten.sort")
    facts = Facts(graph)
    facts.read_whole(node)
    assert not facts.read[0].any()
    facts.add_read(2, np.ones((1, 1), np.bool_))
    facts.read_whole(node)
    assert facts.read[0].all()
    assert facts.read[1].all()


def test_demands_keep_the_atoms_of_an_axis() -> None:
    graph = ChannelGraph()
    graph.add_value(Value((2, 3), "x"))
    ties = Ties(graph)
    ties.labels[0] = Labels([None, ties.fresh(3)])
    demands = Demands(ties)
    demands.keep_axis(0, 1, np.array([False, True, True]))
    demands.keep_axis(0, 0, np.array([True, True]))
    demands.keep_axis(None, 0, np.array([True]))
    assert np.concatenate(demands.kept).tolist() == [1, 2]


def test_a_silent_channel_is_one_whose_atom_goes() -> None:
    graph = ChannelGraph()
    graph.add_value(Value((2, 3), "x"))
    ties = Ties(graph)
    ties.labels[0] = Labels([None, ties.fresh(3)])
    ties.union(np.array([0]), np.array([2]))
    assert Demands(ties).is_silent(0, 1).tolist() == [False] * 3
    silent = np.array([True, False, False])
    assert Demands(ties, silent=silent).is_silent(0, 1).tolist() == [True, False, True]
