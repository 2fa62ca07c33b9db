# SPDX-License-Identifier: Apache-2.0
"""`edgeshift nest`: variants of one set of weights become one file."""

import json
import sys
from pathlib import Path

import pytest

from edgeshift.cli import main
from edgeshift.portfolio import Portfolio

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.derive.nesting import NETS, source, states


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    out, err = capsys.readouterr()
    return int(str(end.value.code)), out, err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the portfolio `p`; the test stands in it."""
    ref = NETS["perceptron"]
    source(tmp_path / "p", ref, states(ref))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_script_gets_the_sizes_and_the_folder_can_be_verified(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "nest", "p", "--out", "n", "--json")
    assert (code, err) == (0, "")
    said, found = json.loads(out), Portfolio.open("n")
    assert said["variants"] == len(found) == 3
    assert said["size_bytes"] == (here / "n" / said["file"]).stat().st_size
    assert found.verify().answers == 3


def test_variants_that_are_not_nested_are_one_line_and_2(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = NETS["perceptron"]
    one, two = states(ref), states(ref, seed=1)
    source(here / "q", ref, [one[0], one[1], two[2]])
    code, _, err = run(capsys, "nest", "q", "--out", "n")
    assert code == 2
    assert "channels of one in level-2 must be among those of the next larger variant" in err
    assert not (here / "n").exists()


def test_a_folder_that_holds_something_else_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "n").mkdir()
    (here / "n" / "mine.txt").write_text("mine")
    code, _, err = run(capsys, "nest", "p", "--out", "n")
    assert (code, (here / "n" / "mine.txt").read_text()) == (2, "mine")
    assert "out must be a new or empty folder" in err
