# SPDX-License-Identifier: Apache-2.0
"""What all settings of a build promise."""

import pytest

from edgeshift.core.errors import UnknownName
from edgeshift.derive.settings.shape import SHELF, settings_for, train_options
from edgeshift.train import METHODS, Training


@pytest.mark.parametrize("name", SHELF.names())
def test_their_fields_are_options_of_the_training_loop(name: str) -> None:
    assert Training(**train_options(SHELF.make(name))).check()


@pytest.mark.parametrize("name", SHELF.names())
def test_levels_fall_from_the_dense_network(name: str) -> None:
    levels = SHELF.make(name).levels
    assert levels[0] == 1
    assert list(levels) == sorted(set(levels), reverse=True)
    assert levels[-1] > 0


@pytest.mark.parametrize("name", SHELF.names())
def test_eight_levels_or_more(name: str) -> None:
    assert len(SHELF.make(name).levels) >= 8


@pytest.mark.parametrize("name", SHELF.names())
def test_the_method_exists(name: str) -> None:
    assert SHELF.make(name).method in METHODS.names()


@pytest.mark.parametrize(
    ("data", "trained", "name"),
    [
        ("digits", False, "digits"),
        ("cifar10", True, "cifar10_trained"),
        ("digits", True, "any_images_trained"),
        ("photos", False, "any_images"),
    ],
)
def test_a_data_set_finds_its_settings(data: str, trained: bool, name: str) -> None:
    assert settings_for(data, trained=trained).card.name == name


def test_settings_that_are_asked_for_win() -> None:
    assert settings_for("digits", asked="cifar10").card.name == "cifar10"


def test_unknown_settings_get_the_near_name() -> None:
    with pytest.raises(UnknownName, match="no settings named 'cifr10'; did you mean 'cifar10'"):
        settings_for("digits", asked="cifr10")
