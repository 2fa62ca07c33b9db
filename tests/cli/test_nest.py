# SPDX-License-Identifier: Apache-2.0
"""`edgeshift nest`: variants of one set of weights become one file."""

import json
import sys
from pathlib import Path

import pytest

from edgeshift.core.values import Measurement, Proof
from edgeshift.portfolio import Draft, Portfolio

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cli.typed import run
from tests.derive.nesting import NETS, source, states


def ladder(folder: Path, latency_ms: dict[int, float]) -> None:
    """A portfolio with a variant for each count of multiply-accumulates."""
    found = Portfolio.create(folder, NETS["perceptron"], {"name": "none"}, {})
    for macs, took in latency_ms.items():
        latency = Measurement("latency", took, "ms", p95=took)
        proof = Proof(0.0, 0.0, 1, ("random",), 1e-9)
        draft = Draft(f"macs-{macs}", {}, {"validation": 0.5}, macs, macs, 0.0, {}, (latency,), proof)
        found = found.add(draft, {"log": b"none", "masked": str(macs).encode()})


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


def test_shares_for_clocks_come_from_what_variants_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder(tmp_path / "p", {100: 4.0, 50: 2.0, 25: 1.0})
    code, out, err = run(
        capsys, "ratios", str(tmp_path / "p"), "--frequencies", "1,0.75,0.5", "--margin", "0"
    )
    assert (code, out, err) == (0, "1.000,0.750,0.500\n", "")
    _, out, _ = run(capsys, "ratios", str(tmp_path / "p"), "--frequencies", "1,0.5")
    assert out == "1.000,0.475\n"  # 3.8 ms, a twentieth under the largest one's 4
    # Half of each latency stands still: at 0.5 the middle one takes 2 + 1 = 3, the largest 4 + 2; 4 is a third between.
    words = [
        "ratios",
        str(tmp_path / "p"),
        "--frequencies",
        "1,0.5",
        "--fixed",
        "0.5",
        "--margin",
        "0",
        "--json",
    ]
    _, out, _ = run(capsys, *words)
    assert json.loads(out)["ratios"] == pytest.approx([1.0, 0.5 + 0.5 / 3])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--frequencies", "1,x"], "--frequencies must be numbers"),
        (["--frequencies", "0.5,1"], "frequencies must be falling"),
        (["--frequencies", "1,0.1"], "target_ms less the margin at clock 0.1 must be at least 10"),
        (["--frequencies", "1", "--margin", "1"], "margin must be 0 to below 1"),
        (["--frequencies", "1", "--fixed", "1"], "fixed must be from 0 and below 1"),
    ],
)
def test_clocks_that_cannot_be_are_one_line_and_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    ladder(tmp_path / "p", {100: 4.0, 50: 2.0, 25: 1.0})
    code, _, err = run(capsys, "ratios", str(tmp_path / "p"), *words)
    assert code == 2
    assert said in err
