# SPDX-License-Identifier: Apache-2.0
"""What all design spaces promise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue
from edgeshift.plan import SPACES
from edgeshift.plan.spaces.shape import LISTED, Space

# A fixed mean is the one option that narrows a space after the fact.
MADE = [(name, {}) for name in SPACES.names()] + [("grid", {"cells": 5, "steps": 7, "mean": 0.4})]
each = pytest.mark.parametrize(("name", "options"), MADE, ids=[f"{n}{o or ''}" for n, o in MADE])


def rows(space: Space, seed: int, n: int = 40) -> np.ndarray:
    """Any rows whose places hold options, settled or not."""
    return np.random.default_rng(seed).integers(0, np.array(space.sizes), (n, len(space.sizes)))


@each
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_described_is_read_back(name: str, options: dict[str, object], seed: int) -> None:
    space = SPACES.make(name, **options)
    for design in space.settle(rows(space, seed, 5)):
        described = json.loads(json.dumps(space.decode(design)))
        assert (space.encode(described) == design).all()


@each
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_settling_gives_designs_and_leaves_them(name: str, options: dict[str, object], seed: int) -> None:
    space = SPACES.make(name, **options)
    settled = space.settle(rows(space, seed))
    assert space.check(settled).all()
    assert (space.settle(settled) == settled).all()


@each
def test_draws_mutants_and_mixtures_are_designs(name: str, options: dict[str, object]) -> None:
    space, rng = SPACES.make(name, **options), np.random.default_rng(0)
    drawn = space.sample(50, rng)
    assert space.check(drawn).all()
    assert space.check(space.mutate(drawn, 0.3, rng)).all()
    assert space.check(space.crossover(drawn, drawn[::-1], rng)).all()


@each
def test_equal_seeds_draw_equal_designs(name: str, options: dict[str, object]) -> None:
    space = SPACES.make(name, **options)
    one, other = (space.sample(9, np.random.default_rng(3)) for _ in range(2))
    assert (one == other).all()


@each
def test_rows_outside_the_space_are_told(name: str, options: dict[str, object]) -> None:
    space = SPACES.make(name, **options)
    good = space.sample(1, np.random.default_rng(0))
    over, under = good.copy(), good.copy()
    over[0, 0], under[0, 0] = space.sizes[0], -1
    assert space.check(np.concatenate([good, over, under])).tolist() == [True, False, False]
    assert not space.check(good[:, :0]).any()


@each
def test_all_designs_are_listed_once_or_refused(name: str, options: dict[str, object]) -> None:
    space = SPACES.make(name, **options)
    if space.count > LISTED:
        with pytest.raises(BadValue, match=f"at most {LISTED}; take another solver, got {space.count}"):
            space.every()
        return
    every = space.every()
    assert len(np.unique(every, axis=0)) == len(every)
    settled = space.settle(np.indices(space.sizes).reshape(len(space.sizes), -1).T.astype(np.int64))
    assert (np.unique(settled, axis=0) == every).all()


@each
def test_a_network_reads_distinct_numbers_for_distinct_designs(name: str, options: dict[str, object]) -> None:
    space = SPACES.make(name, **options)
    designs = np.unique(space.sample(60, np.random.default_rng(0)), axis=0)
    numbers = space.numbers(designs)
    assert numbers.dtype == np.float32
    assert len(np.unique(numbers, axis=0)) == len(designs)
    assert abs(numbers).max() <= 1


@pytest.mark.parametrize("name", SPACES.names())
def test_a_description_of_something_else_is_refused(name: str) -> None:
    with pytest.raises(BadValue, match=r"must be .*, got"):
        SPACES.make(name).encode({"something": "else"})
