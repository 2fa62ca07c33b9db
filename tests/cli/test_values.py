# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.cli.values import levels, pairs, whole_numbers
from edgeshift.core.errors import BadValue


def test_values_of_pairs_are_json_where_they_parse() -> None:
    assert pairs("--option", ["n=2", "name=x", "flag=true", "shape=[1, 2]", "text=a=b"]) == {
        "n": 2,
        "name": "x",
        "flag": True,
        "shape": [1, 2],
        "text": "a=b",
    }


def test_numbers_between_commas_are_a_list_and_words_are_text() -> None:
    found = pairs("--option", ["ratios=0.8,0.5", "exclude=conv1.*,fc", "empty="])
    assert found == {"ratios": [0.8, 0.5], "exclude": "conv1.*,fc", "empty": ""}


def test_no_words_give_no_pairs() -> None:
    assert pairs("--option", None) == {}


@pytest.mark.parametrize("word", ["n", "=2", ""])
def test_a_pair_needs_a_key_and_an_equals_sign(word: str) -> None:
    with pytest.raises(BadValue, match=f"--option must be key=value, got '{word}'"):
        pairs("--option", [word])


def test_a_key_comes_once() -> None:
    with pytest.raises(BadValue, match="--option must be given once per key, got 'n'"):
        pairs("--option", ["n=1", "n=2"])


def test_levels_are_numbers() -> None:
    assert levels("1,0.5, 0.25") == (1.0, 0.5, 0.25)


def test_no_levels_leave_the_choice_open() -> None:
    assert levels("") == ()


def test_a_level_that_is_no_number_is_named() -> None:
    with pytest.raises(BadValue, match=r"--levels must be numbers such as 1,0.5,0.25, got '1,half'"):
        levels("1,half")


def test_whole_numbers() -> None:
    assert whole_numbers("--batch-sizes", "1,32") == (1, 32)


def test_a_fraction_is_no_whole_number() -> None:
    with pytest.raises(BadValue, match=r"--batch-sizes must be whole numbers such as 1,32, got '1.5'"):
        whole_numbers("--batch-sizes", "1.5")
