# SPDX-License-Identifier: Apache-2.0
import json
import sys

import pytest

from edgeshift.cli import main
from edgeshift.core.registry import shelves


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `edgeshift list`."""
    with pytest.raises(SystemExit) as end:
        main(["list", *words])
    out, err = capsys.readouterr()
    return int(str(end.value.code)), out, err


def test_every_plug_in_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(listed(capsys, "--json")[1])
    for shelf in shelves():
        assert [card["name"] for card in found[shelf.noun]] == shelf.names()


def test_model_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    names = [card["name"] for card in json.loads(listed(capsys, "model", "--json")[1])["model"]]
    assert {"resnet20", "vgg16_bn", "cifar10_resnet20"} <= set(names)


def test_one_shelf_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(json.loads(listed(capsys, "settings", "--json")[1])) == ["settings"]


def test_an_unknown_shelf_gets_the_near_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, "setings") == (
        2,
        "",
        "edgeshift: no shelf named 'setings'; did you mean 'settings'?\n",
    )


def test_a_pipe_gets_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = listed(capsys, "criterion")
    assert (code, err) == (0, "")
    line = next(line for line in out.splitlines() if line.startswith("criterion\tmagnitude\t"))
    assert line.count("\t") == 4


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = listed(capsys, "criterion")[1]
    assert "\t" not in out
    assert "magnitude" in out
