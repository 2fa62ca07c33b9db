# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeshift.core.recipe import Recipe, canonical

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
options = st.dictionaries(st.text(), st.recursive(leaves, lambda c: st.lists(c), max_leaves=5))


@given(value=options)
def test_canonical_text_reads_back_equal(value: dict[str, object]) -> None:
    assert json.loads(canonical(value)) == value


@given(value=options)
def test_order_of_options_does_not_change_the_hash(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert Recipe("m", 1, value).hash() == Recipe("m", 1, turned).hash()


@given(value=options)
def test_a_recipe_that_went_through_json_hashes_the_same(value: dict[str, object]) -> None:
    assert Recipe("m", 1, json.loads(json.dumps(value))).hash() == Recipe("m", 1, value).hash()


@pytest.mark.parametrize(
    "other",
    [Recipe("n", 1, {"a": 1}), Recipe("m", 2, {"a": 1}), Recipe("m", 1, {"a": 2}), Recipe("m", 1, {})],
)
def test_any_change_changes_the_hash(other: Recipe) -> None:
    assert other.hash() != Recipe("m", 1, {"a": 1}).hash()


def test_the_hash_does_not_change_between_releases() -> None:
    # Folders of finished work are named by it: another value would compute everything again.
    assert Recipe("train", 1, {"epochs": 2}).hash() == "dbd6dc8eed07b9d1"


def test_nan_has_no_recipe() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Recipe("m", 1, {"lr": float("nan")}).hash()
