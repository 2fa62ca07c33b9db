# SPDX-License-Identifier: Apache-2.0
"""The variants that no other beats in everything."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import Measurement, Variant
from edgeshift.portfolio import front
from edgeshift.portfolio.front import DEFAULT_OBJECTIVES, cost, dominates
from tests.portfolio.made import variant

# Few values, so that ties and equals are common.
SMALL = st.integers(0, 4)
FIGURES = st.lists(st.tuples(SMALL, SMALL, SMALL), max_size=12)


def made(figures: list[tuple[int, int, int]]) -> list[Variant]:
    return [variant(f"v{n}", a / 4, float(t + 1), float(m + 1)) for n, (a, t, m) in enumerate(figures)]


def costs(of: Variant) -> tuple[float, ...]:
    return tuple(cost(of, objective) for objective in DEFAULT_OBJECTIVES)


def names(of: object) -> list[str]:
    return [v.name for v in of]  # type: ignore[attr-defined]


def test_a_worse_variant_is_left_out() -> None:
    best, worse, other = variant("a", 0.9, 2, 100), variant("b", 0.8, 2, 100), variant("c", 0.7, 1, 100)
    assert names(front([best, worse, other])) == ["a", "c"]


def test_equal_variants_both_stay() -> None:
    assert names(front([variant("a", 0.9, 2, 100), variant("b", 0.9, 2, 100)])) == ["a", "b"]


def test_memory_alone_can_keep_a_variant() -> None:
    assert names(front([variant("a", 0.9, 2, 100), variant("b", 0.9, 3, 50)])) == ["a", "b"]


def test_one_variant_is_its_own_front() -> None:
    assert names(front([variant("a", 0.1, 9, 9)])) == ["a"]


def test_no_variant_is_no_front() -> None:
    assert front([]) == ()


def test_test_accuracy_does_not_choose() -> None:
    good = replace(variant("a", 0.9, 2, 100), accuracy={"validation": 0.9, "test": 0.1})
    bad = replace(variant("b", 0.8, 2, 100), accuracy={"validation": 0.8, "test": 0.99})
    assert names(front([good, bad])) == ["a"]


def test_objectives_can_be_chosen() -> None:
    one, other = variant("a", 0.9, 2, 100), variant("b", 0.8, 1, 200)
    assert names(front([one, other], ["accuracy"])) == ["a"]
    assert names(front([one, replace(other, sparsity=0.9)], ["sparsity"])) == ["b"]
    assert names(front([one, replace(other, macs=5)], ["macs"])) == ["b"]


@given(FIGURES)
def test_no_member_is_dominated(figures: list[tuple[int, int, int]]) -> None:
    variants = made(figures)
    assert not any(dominates(costs(v), costs(member)) for member in front(variants) for v in variants)


@given(FIGURES)
def test_every_other_variant_is_dominated_by_a_member(figures: list[tuple[int, int, int]]) -> None:
    variants = made(figures)
    members = front(variants)
    others = [v for v in variants if v not in members]
    assert all(any(dominates(costs(member), costs(v)) for member in members) for v in others)


@given(FIGURES, st.randoms())
def test_order_does_not_change_the_front(figures: list[tuple[int, int, int]], source: object) -> None:
    variants = made(figures)
    shuffled = list(variants)
    source.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set(names(front(variants))) == set(names(front(shuffled)))


@given(FIGURES)
def test_the_front_of_the_front_is_the_front(figures: list[tuple[int, int, int]]) -> None:
    members = front(made(figures))
    assert front(members) == members


def test_an_unknown_objective_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownName, match=r"no objective named 'latancy'; did you mean 'latency'?"):
        front([variant("a", 0.9, 2, 100)], ["latancy"])


def test_no_objective_is_refused() -> None:
    with pytest.raises(BadValue, match=r"objectives must be at least one, got \(\)"):
        front([], [])


def test_a_missing_figure_is_named() -> None:
    poor = replace(variant("a", 0.9, 2, 100), measurements=(Measurement("latency", 1.0, "ms"),))
    with pytest.raises(BadValue, match=r"measurement of a must be one of .*latency.*, got 'peak_memory'"):
        front([poor])


def test_a_missing_validation_accuracy_is_named() -> None:
    with pytest.raises(BadValue, match=r"accuracy of a must be known on validation, got {'test': 0.5}"):
        front([replace(variant("a", 0.9, 2, 100), accuracy={"test": 0.5})])
