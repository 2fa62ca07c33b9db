# SPDX-License-Identifier: Apache-2.0
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue
from edgeshift.sparsity.allocation import counts, erk, knapsack, uniform

SHAPES = {"a": (8, 1, 3, 3), "b": (16, 8, 3, 3), "c": (10, 64)}


def test_erk_gives_what_the_paper_computes() -> None:
    # Sums of sizes 15, 30 and 74 share 0.3 * 1864 = 559.2 kept weights: 4.69916 for each of them.
    assert erk(SHAPES, 0.3) == pytest.approx({"a": 0.97899, "b": 0.12237, "c": 0.54334}, abs=1e-5)


def test_erk_keeps_a_layer_whole_rather_than_more() -> None:
    shares = erk(SHAPES, 0.5)
    assert shares["a"] == 1
    assert sum(s * n for s, n in zip(shares.values(), (72, 1152, 640), strict=True)) == pytest.approx(932)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
def test_erk_adds_up(keep: float, shapes: list[tuple[int, int]]) -> None:
    named = {str(k): shape for k, shape in enumerate(shapes)}
    shares = erk(named, keep)
    assert all(0 <= s <= 1 + 1e-9 for s in shares.values())
    total = sum(a * b for a, b in shapes)
    assert sum(shares[n] * a * b for n, (a, b) in named.items()) == pytest.approx(keep * total, abs=1e-6)


def test_erk_refuses_more_than_all() -> None:
    with pytest.raises(BadValue, match=r"keep must be 0 to 1, got 1\.5"):
        erk(SHAPES, 1.5)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0, 1))
def test_counts_add_up_exactly_and_stay_within_one_of_the_share(sizes: list[int], keep: float) -> None:
    named = {str(k): n for k, n in enumerate(sizes)}
    total = round(keep * sum(sizes))
    found = counts(named, uniform(dict.fromkeys(named, (1,)), keep), total)
    assert sum(found.values()) == total
    assert all(abs(found[n] - keep * size) < 1 + 1e-9 for n, size in named.items())


def test_counts_keep_the_least() -> None:
    assert counts({"a": 10, "b": 10}, {"a": 0.0, "b": 0.5}, 5, least=1) == {"a": 1, "b": 4}


def test_counts_that_cannot_be_reached_are_refused() -> None:
    with pytest.raises(BadValue, match="total must be 2 to 4, got 1"):
        counts({"a": 2, "b": 2}, {"a": 0.0, "b": 0.0}, 1, least=1)


options = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 15)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=200)
@given(st.lists(options, min_size=1, max_size=5), st.integers(0, 60))
def test_the_knapsack_is_as_good_as_trying_all(groups: list[list[tuple[int, int]]], budget: int) -> None:
    values = [[v for v, _ in g] for g in groups]
    costs = [[c for _, c in g] for g in groups]
    worth = [
        sum(v[k] for v, k in zip(values, choice, strict=True))
        for choice in product(*(range(len(g)) for g in groups))
        if sum(c[k] for c, k in zip(costs, choice, strict=True)) <= budget
    ]
    if not worth:
        with pytest.raises(BadValue, match="budget must be at least"):
            knapsack(values, costs, budget)
        return
    chosen = knapsack(values, costs, budget)
    assert sum(c[k] for c, k in zip(costs, chosen, strict=True)) <= budget
    assert sum(v[k] for v, k in zip(values, chosen, strict=True)) == max(worth)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=1, max_size=6), st.floats(0.2, 1))
def test_costs_that_are_no_whole_numbers_stay_in_the_budget(costs: list[list[float]], share: float) -> None:
    low, high = sum(map(min, costs)), sum(map(max, costs))
    budget = low + share * (high - low)
    chosen = knapsack(costs, costs, budget)
    spent = sum(c[k] for c, k in zip(costs, chosen, strict=True))
    assert spent <= budget + 1e-9


def test_of_equally_good_choices_the_cheaper_one_is_taken() -> None:
    assert knapsack([[1, 1], [2, 2]], [[3, 1], [2, 4]], 10) == [1, 0]
