# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from edgeshift.core.card import NEEDS, Card
from edgeshift.core.errors import BadValue


@pytest.mark.parametrize("needs", NEEDS)
def test_every_stated_need_is_taken(needs: str) -> None:
    assert Card(name="a", says="b", paper="c", needs=needs).needs == needs


def test_unknown_need_names_the_choices() -> None:
    with pytest.raises(BadValue, match=r"needs must be one of weights, .*nothing, got 'luck'"):
        Card(name="a", says="b", paper="c", needs="luck")


@pytest.mark.parametrize("says", ["", "x" * 101])
def test_says_is_one_to_a_hundred_characters(says: str) -> None:
    with pytest.raises(BadValue, match="says must be 1 to 100 characters, got '"):
        Card(name="a", says=says, paper="c")


def test_a_hundred_characters_fit() -> None:
    assert len(Card(name="a", says="x" * 100, paper="c").says) == 100


def test_a_card_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Card(name="a", says="b", paper="c").name = "d"  # type: ignore[misc]
