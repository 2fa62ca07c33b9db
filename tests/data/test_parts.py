# SPDX-License-Identifier: Apache-2.0
"""Fixed splits, class by class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadData, BadValue
from edgeshift.data.parts import stratified


def keys(n: int) -> list[str]:
    return [str(i) for i in range(n)]


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=6),
    seed=st.integers(0, 5),
    validation=st.integers(0, 49),
    test=st.integers(0, 49),
)
def test_splits_are_disjoint_and_cover_everything(
    counts: list[int], seed: int, validation: int, test: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = stratified(labels, keys(len(labels)), seed, validation, test)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    assert set(parts) == {"train"} | ({"validation"} if validation else set()) | ({"test"} if test else set())
    for chosen in parts.values():
        assert set(labels[chosen].tolist()) == set(range(len(counts)))


def test_shares_are_rounded_down_within_each_class() -> None:
    labels = np.repeat([0, 1], [10, 39])
    parts = stratified(labels, keys(49), 0, validation=15, test=25)
    counts = {name: np.bincount(labels[chosen]).tolist() for name, chosen in parts.items()}
    assert counts == {"train": [7, 25], "validation": [1, 5], "test": [2, 9]}


def test_the_split_is_written_in_stone() -> None:
    # Measured once; another answer means that results can no longer be compared with older ones.
    parts = stratified(np.repeat([0, 1], 5), keys(10), 0, validation=20, test=20)
    assert {name: chosen.tolist() for name, chosen in parts.items()} == {
        "train": [1, 2, 3, 5, 7, 8],
        "validation": [0, 9],
        "test": [4, 6],
    }


def test_another_seed_gives_another_split() -> None:
    labels = np.repeat([0, 1], 50)
    first, second = (stratified(labels, keys(100), seed, 15, 15)["test"].tolist() for seed in (0, 1))
    assert first != second


def test_images_added_to_one_class_leave_the_other_class_alone() -> None:
    few = stratified(np.repeat([0, 1], [20, 20]), keys(40), 0, 15, 15)
    more = stratified(np.repeat([0, 1], [20, 60]), keys(80), 0, 15, 15)
    for name, chosen in few.items():
        assert chosen[chosen < 20].tolist() == more[name][more[name] < 20].tolist()


def test_a_class_too_small_to_split_is_named() -> None:
    with pytest.raises(BadData, match="class 1 must have at least 3 images, one for each split, got 2"):
        stratified(np.array([0, 0, 0, 1, 1]), keys(5), 0, 15, 15)


@pytest.mark.parametrize(("validation", "test"), [(50, 50), (-1, 10), (0, 100)])
def test_shares_must_leave_something_to_train_on(validation: int, test: int) -> None:
    with pytest.raises(
        BadValue, match="validation and test must be percentages from 0 that add up to under 100"
    ):
        stratified(np.repeat([0, 1], 9), keys(18), 0, validation, test)
