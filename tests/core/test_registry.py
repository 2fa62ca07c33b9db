# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

from edgeshift.core import registry
from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.registry import Shelf, class_name, read_card, shelves

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from edgeshift.core.card import Card
import a_module_that_does_not_exist

@dataclass(frozen=True)
class Wanda:
    card: ClassVar[Card] = Card(name="wanda", says="Weight x norm.", paper="Sun et al.", needs="calibration")
"""
LIVE = """
from dataclasses import dataclass
@dataclass(frozen=True)
class NearMiss:
    power: float = 1.0
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A shelf of two plug-ins, the contract and a private file in a package root of its own."""
    folder = tmp_path / "room" / "things"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "shape.py").write_text('"""A contract."""\nNOUN = "thing"\n')
    (folder / "_private.py").write_text("")
    (folder / "wanda.py").write_text(PLUGIN)
    (folder / "taylor.py").write_text(PLUGIN.replace("wanda", "taylor").replace("Wanda", "Taylor"))
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    return Shelf("thing", "room/things")


def test_names_are_the_public_files(shelf: Shelf) -> None:
    assert shelf.names() == ["taylor", "wanda"]


def test_cards_are_read_without_running_the_files(shelf: Shelf) -> None:
    assert [c.name for c in shelf.cards()] == ["taylor", "wanda"]
    assert "a_module_that_does_not_exist" not in sys.modules


def test_a_card_keeps_every_field(shelf: Shelf, tmp_path: Path) -> None:
    card = read_card(tmp_path / "room" / "things" / "wanda.py")
    assert (card.says, card.paper, card.link, card.needs) == (
        "Weight x norm.",
        "Sun et al.",
        "",
        "calibration",
    )


def test_a_file_without_a_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("x = 1")
    with pytest.raises(BadValue, match=r"plug-in file must be one with a `card`, got 'bare.py'"):
        read_card(tmp_path / "bare.py")


def test_a_misspelt_name_gets_the_near_one(shelf: Shelf) -> None:
    with pytest.raises(UnknownName, match=r"no thing named 'wnda'; did you mean 'wanda'\?"):
        shelf.find("wnda")


@pytest.mark.parametrize("name", ["shape", "_private", "__init__", "../things/wanda", ""])
def test_only_a_plug_in_can_be_found(shelf: Shelf, name: str) -> None:
    with pytest.raises(UnknownName, match="no thing named "):
        shelf.find(name)


def test_shelves_are_the_folders_whose_shape_names_a_noun(shelf: Shelf) -> None:
    assert shelves() == [shelf]


def test_a_shape_without_a_noun_is_no_shelf(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "shape.py").write_text("KIND = 'x'\n")
    assert shelves() == [shelf]


@pytest.mark.parametrize(("name", "cls"), [("taylor", "Taylor"), ("n_m", "NM"), ("resnet20", "Resnet20")])
def test_class_names_follow_file_names(name: str, cls: str) -> None:
    assert class_name(name) == cls


def test_the_package_is_the_folder() -> None:
    assert Shelf("thing", "room/things").package == "edgeshift.room.things"


@pytest.fixture
def live(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The same shelf with one plug-in that can be imported."""
    (tmp_path / "room" / "things" / "near_miss.py").write_text(LIVE)
    monkeypatch.syspath_prepend(str(tmp_path / "room" / "things"))
    monkeypatch.setattr(Shelf, "package", "things")
    monkeypatch.syspath_prepend(str(tmp_path / "room"))
    return shelf


def test_make_passes_options(live: Shelf) -> None:
    assert live.make("near_miss", power=2.0).power == 2.0


def test_make_refuses_an_unknown_option(live: Shelf) -> None:
    with pytest.raises(BadValue, match="option of near_miss must be one of power, got 'powr'"):
        live.make("near_miss", powr=2.0)


@pytest.mark.parametrize("found", shelves(), ids=lambda s: s.folder)
def test_every_real_shelf_has_a_plug_in(found: Shelf) -> None:
    assert found.names()


def test_real_shelves_share_no_noun() -> None:
    nouns = [s.noun for s in shelves()]
    assert len(nouns) == len(set(nouns))
