# SPDX-License-Identifier: Apache-2.0
"""The command `plan`, as typed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeshift.cli import main
from edgeshift.core.plan_file import read_plan
from edgeshift.portfolio import Portfolio
from edgeshift.predict.samples import Samples
from edgeshift.predict.table import write_table
from tests.portfolio.made import DATA, MODEL, RECIPE, draft, files

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a command."""

    def typed(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["plan", *map(str, words)])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return typed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)
    for seed, (accuracy, ms) in enumerate(((0.9, 4.0), (0.7, 1.0))):
        made = made.add(draft(f"level-{seed}", accuracy, ms), files(seed))
    return tmp_path / "p"


def test_a_plan_is_said_and_written(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run(folder, "--limits", "latency<=2ms", "--out", tmp_path / "plan.json")
    assert code == 0
    assert out.startswith("level-1 is chosen; all limits hold with probability 1.00.")
    assert read_plan(tmp_path / "plan.json").picks[0].name == "level-1"


def test_a_plan_is_json_for_scripts(run: Run, folder: Path) -> None:
    code, out, _ = run(folder, "--limits", "latency<=0.5ms", "--json")
    assert (code, json.loads(out)["picks"][0]["broken"]) == (0, ["latency<=0.5ms"])


def test_a_fleet_is_planned_into_a_folder(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.csv").write_text("device,latency_ms\na,9\nb,2\n")
    code, out, _ = run(folder, "--fleet", tmp_path / "fleet.csv", "--out", tmp_path / "out", "--loss", "0")
    assert code == 0
    assert out.startswith(
        "2 devices; 0 have limits that no variant keeps.\n2 variants to ship, the fewest that do:"
    )
    assert len((tmp_path / "out/picks.csv").read_text().splitlines()) == 3


def test_a_table_shows_the_choice_beside_the_truth(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, (60, 2)).astype(float)
    cost = counts @ np.exp(rng.normal(0, 0.7, (2, 5)))
    names = tuple(f"chip{i}" for i in range(5))
    accuracy = 0.5 + counts.sum(1) / 100
    write_table(tmp_path / "t.npz", Samples(counts, cost, names, ("count_a", "count_b"), accuracy=accuracy))
    bound = float(np.median(cost[:, 4]))
    code, out, _ = run(
        "--table", tmp_path / "t.npz", "--hold-out", "chip4", "--limits", f"latency<={bound}ms", "--json",
        "--predictor", "count_ridge", "--solver", "scan",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0
    assert found["accuracy"] == accuracy[found["row"]]
    assert found["cost"] == cost[found["row"], 4] <= bound
    assert found["optimum_accuracy"] == accuracy[cost[:, 4] <= bound].max()
    assert found["decide_ms"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "what to plan on must be a portfolio's folder, or --table, got None"),
        (("p", "--table", "t.npz"), "got 'FOLDER and --table'"),
        (("--table", "t.npz"), "--hold-out must be a device of the table, got ''"),
        (("p", "--fleet", "f.csv"), "--out must be a folder for the fleet's plan, got None"),
        (
            ("p", "--fleet", "f.csv", "--out", "o", "--loss", "-1"),
            "--loss must be points of accuracy, 0 to 100",
        ),
        (("p", "--fleet", "f.csv", "--limits", "size<=2MB"), "--limits must be left out with --fleet, whose"),
        (("--table", "t.npz", "--out", "plan.json"), "--out must be left out with --table, which"),
        (("p", "--hold-out", "pi"), "--hold-out must be left out without --table, got 'pi'"),
        (("p", "--limits", "latency<=2"), "unit of latency must be one of us, ms, s, got ''"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    code, _, err = run(*words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_device_is_planned_for_by_its_name(run: Run, folder: Path) -> None:
    code, out, _ = run(folder, "--limits", "latency<=1000ms", "--device", "raspberry-pi-4", "--json")
    (pick,) = json.loads(out)["picks"]
    assert code == 0
    assert (pick["device"], pick["kind"], pick["broken"]) == ("raspberry-pi-4", "predicted", [])


def test_a_file_of_times_is_a_device_too(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pi.json").write_text('{"name": "pi", "latency_ms": {"level-0": 40.0, "level-1": 10.0}}')
    code, out, _ = run(folder, "--limits", "latency<=20ms", "--device", tmp_path / "pi.json", "--json")
    (pick,) = json.loads(out)["picks"]
    assert (code, pick["device"], pick["name"]) == (0, "pi", "level-1")


def test_a_device_nobody_knows_is_one_line(run: Run, folder: Path) -> None:
    code, _, err = run(folder, "--limits", "latency<=20ms", "--device", "rasberry-pi-4")
    assert (code, err.count("\n")) == (2, 1)
    assert "did you mean 'raspberry-pi-4'?" in err
