# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from edgeshift.graph.analyse import analyse
from edgeshift.graph.channels import ChannelGraph, Node, Value
from edgeshift.graph.facts import Demands, Facts
from edgeshift.graph.readers import Reader, reader_constants, reader_demand, reader_reads
from edgeshift.graph.ties import Labels, Ties

NAN = float("nan")


def linear(weight: object, bias: object = None, groups: int = 1) -> tuple[Reader, Facts]:
    """A weighted sum over three or more channels, and facts that say nothing of its input."""
    graph = ChannelGraph()
    w = np.asarray(weight, np.float32)
    x = graph.add_value(Value((2, w.shape[1] * groups), "x"))
    number = graph.add_value(Value(w.shape, "w", "w", data=w))
    b = None
    if bias is not None:
        b = graph.add_value(Value((len(w),), "b", "b", data=np.asarray(bias, np.float32)))
    y = graph.add_value(Value((2, len(w)), "y"))
    reader = Reader(x, 1, number, 0, 1, b, y, 1, groups, even=True, can_bias=True)
    return reader, Facts(graph)


def know(facts: Facts, reader: Reader, *constants: float) -> None:
    facts.const[reader.x] = np.array([constants])


def output(facts: Facts, reader: Reader) -> list[float]:
    reader_constants(reader, facts)
    return np.asarray(facts.channel(reader.out, 1)).tolist()


def test_a_zero_row_is_its_bias() -> None:
    reader, facts = linear([[0, 0], [1, 0]], [0.5, 7])
    np.testing.assert_array_equal(output(facts, reader), [0.5, NAN])


def test_a_row_over_constants_is_their_sum() -> None:
    reader, facts = linear([[2, 0, 3], [0, 1, 1]], [0.5, 0])
    know(facts, reader, 10, NAN, -1)
    np.testing.assert_array_equal(output(facts, reader), [17.5, NAN])


def test_where_zeros_are_padded_only_zeros_sum() -> None:
    reader, facts = linear([[2, 0], [0, 3]])
    know(facts, reader, 10, 0)
    np.testing.assert_array_equal(output(facts, replace(reader, even=False)), [NAN, 0])


def test_groups_sum_their_own_channels() -> None:
    reader, facts = linear([[1, 1], [1, 1]], groups=2)
    know(facts, reader, 1, 2, NAN, 4)
    np.testing.assert_array_equal(output(facts, reader), [3, NAN])


def test_nothing_is_constant_that_meets_what_may_be_nan() -> None:
    reader, facts = linear([[0, 0], [1, 0]])
    facts.tainted[reader.x] = True
    np.testing.assert_array_equal(output(facts, reader), [NAN, NAN])
    assert facts.tainted[reader.out]


@pytest.mark.parametrize(
    ("needed", "read"),
    [
        ([True, True], [True, False, True]),
        ([True, False], [True, False, False]),
        ([False, False], [False] * 3),
    ],
)
def test_a_channel_is_read_by_needed_rows_with_a_weight(needed: list[bool], read: list[bool]) -> None:
    reader, facts = linear([[1, 0, 0], [0, 0, 1]])
    facts.add_read(reader.out, np.array([needed]))
    reader_reads(reader, facts)
    assert np.broadcast_to(facts.read[reader.x], (1, 3))[0].tolist() == read


def asked(reader: Reader, facts: Facts, *, shared: bool = False) -> Demands:
    ties = Ties(facts.graph)
    ties.labels[reader.x] = Labels([None, ties.fresh(facts.graph.shape(reader.x)[1])])
    facts.add_read(reader.out, np.ones((1, 1), np.bool_))
    reader_constants(reader, facts)
    demands = Demands(ties)
    reader_demand(reader, 0, facts, demands, shared=shared)
    return demands


def test_a_bias_takes_every_constant() -> None:
    reader, facts = linear([[1, 1, 1]], [0])
    know(facts, reader, 2, 0, NAN)
    demands = asked(reader, facts)
    assert not demands.merges
    assert not np.concatenate([np.zeros(0), *demands.kept]).size


def test_where_zeros_are_padded_constants_other_than_zero_are_merged() -> None:
    reader, facts = linear([[1, 1, 1, 0]])
    know(facts, reader, 2, 0, 5, 7)
    (merge,) = asked(replace(reader, even=False), facts).merges
    assert merge.channels.tolist() == [0, 2]
    assert merge.constants.tolist() == [2, 5]


@pytest.mark.parametrize("even", [True, False])
def test_a_weight_that_is_used_twice_keeps_its_constants(even: bool) -> None:
    reader, facts = linear([[1, 1, 0]])
    know(facts, reader, 2, 0, 5)
    demands = asked(replace(reader, even=even), facts, shared=True)
    assert np.concatenate(demands.kept).tolist() == [0]


def test_zero_is_kept_for_a_weight_that_is_nan() -> None:
    reader, facts = linear([[1, NAN]])
    know(facts, reader, NAN, 0)
    assert np.concatenate(asked(reader, facts).kept).tolist() == [1]


def test_the_sum_of_what_goes_is_added_to_the_bias_of_rows_that_stay() -> None:
    graph = ChannelGraph()
    first = np.array([[0, 0], [1, 0], [0, 0]], np.float32)
    last = np.array([[3, 1, 2]], np.float32)
    names = ("x", "w1", "b1", "h", "w2", "b2", "y")
    data = {"w1": first, "b1": np.array([2, 0, -1], np.float32), "w2": last, "b2": np.zeros(1, np.float32)}
    shapes = {"x": (4, 2), "h": (4, 3), "y": (4, 1)}
    for name in names:
        array = data.get(name)
        graph.add_value(
            Value(shapes.get(name) or array.shape, name, name if name in data else "", data=array)
        )
    graph.nodes.append(Node("linear", (0, 1, 2), (3,), {"can_bias": True}, "linear"))
    graph.nodes.append(Node("linear", (3, 4, 5), (6,), {"can_bias": True}, "linear"))
    graph.inputs, graph.outputs = [0], [6]
    verdict = analyse(graph)
    assert verdict.kept(3, 1).tolist() == [False, True, False]
    assert {k: v.tolist() for k, v in verdict.edits.bias.items()} == {1: [3 * 2 + 2 * -1]}
