# SPDX-License-Identifier: Apache-2.0
import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadData, BadValue, FolderTaken
from edgeshift.core.plan_file import read_plan
from edgeshift.plan import fleet, fleet_rows
from edgeshift.plan.fleet import Wanted, plan_fleet
from edgeshift.portfolio import Portfolio
from tests.portfolio.made import DATA, MODEL, RECIPE, draft, files

EXACT = Wanted(loss=0.0)


@pytest.fixture
def portfolio(tmp_path: Path) -> Portfolio:
    """0.9 in 4 ms, 0.8 in 2 ms, 0.7 in 1 ms; 4,000, 2,000 and 1,000 bytes of memory; 6 MACs each."""
    made = Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)
    for seed, (accuracy, ms) in enumerate(((0.9, 4.0), (0.8, 2.0), (0.7, 1.0))):
        made = made.add(draft(f"level-{seed}", accuracy, ms, 1000 * ms), files(seed))
    return made


def rows(folder: Path, *lines: str) -> Path:
    path = folder / "fleet.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def picks(out: Path) -> dict[str, dict[str, str]]:
    with (out / "picks.csv").open() as file:
        return {row["device"]: row for row in csv.DictReader(file)}


def test_each_device_gets_the_best_variant_inside_its_limits(portfolio: Portfolio, tmp_path: Path) -> None:
    path = rows(
        tmp_path,
        "device,speed,latency_ms,memory_bytes,clock",
        "same,1,4,,",
        "slow,0.5,4,,",
        "hot,1,4,,0.25",
        "small,1,,1500,",
        "any,,,,",
    )
    found = plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    names = {device: row["name"] for device, row in picks(tmp_path / "out").items()}
    assert names == {
        "same": "level-0",
        "slow": "level-1",
        "hot": "level-2",
        "small": "level-2",
        "any": "level-0",
    }
    assert (found.rows, found.unmet, found.mean_loss, found.smallest) == (5, 0, 0.0, True)


def test_a_device_whose_limits_nothing_keeps_is_marked(portfolio: Portfolio, tmp_path: Path) -> None:
    path = rows(tmp_path, "device,latency_ms,accuracy", "good,9,", "bad,0.5,", "greedy,,0.95")
    found = plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    got = picks(tmp_path / "out")
    assert (found.unmet, got["good"]["broken"], got["bad"]["broken"], got["greedy"]["broken"]) == (
        2, "", "limits", "limits",
    )  # fmt: skip
    assert got["bad"]["loss"] == ""


def test_a_modelled_time_adds_overhead_and_work(portfolio: Portfolio, tmp_path: Path) -> None:
    # 6 MACs at 2 a millisecond and 1 ms of overhead: 4 ms for every variant.
    path = rows(tmp_path, "device,latency_ms,macs_per_ms,overhead_ms", "in,4,2,1", "out,3.9,2,1")
    plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    got = picks(tmp_path / "out")
    assert (got["in"]["broken"], got["out"]["broken"]) == ("", "limits")


def test_a_predicted_time_keeps_its_margin(portfolio: Portfolio, tmp_path: Path) -> None:
    path = rows(tmp_path, "device,latency_ms,error", "sure,4.1,0", "unsure,4.1,0.1")
    plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    got = picks(tmp_path / "out")
    assert (got["sure"]["name"], got["unsure"]["name"]) == ("level-0", "level-1")  # 4 * e^0.13 is over 4.1


def test_the_variants_to_ship_serve_within_the_loss(portfolio: Portfolio, tmp_path: Path) -> None:
    lines = [f"d{i},9" for i in range(98)] + ["slow,3", "slower,1"]
    path = rows(tmp_path, "device,latency_ms", *lines)
    found = plan_fleet(portfolio, path, tmp_path / "out", Wanted(loss=0.002))
    ids = [portfolio.find(n).id for n in ("level-0", "level-2")]
    assert found.variants == tuple(ids)
    assert found.mean_loss == pytest.approx(0.001)  # one of 100 devices loses 0.1
    assert read_plan(tmp_path / "out" / "plan.json").variants == tuple(ids)
    assert picks(tmp_path / "out")["slow"]["name"] == "level-2"
    assert found.devices == {ids[0]: 98, ids[1]: 2}


def many(folder: Path, n: int) -> Path:
    rng = np.random.default_rng(0)
    lines = [f"d{i},{s:.4f},{t:.4f}" for i, (s, t) in enumerate(rng.uniform(0.2, 2, (n, 2)))]
    return rows(folder, "device,speed,latency_ms", *lines)


def test_pieces_of_any_size_give_the_same_plan(
    portfolio: Portfolio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = many(tmp_path, 200), []
    for size in (1 << 20, 700, 1):
        monkeypatch.setattr(fleet_rows, "PIECE", size)
        out = tmp_path / f"out{size}"
        found.append((plan_fleet(portfolio, path, out, EXACT), (out / "picks.csv").read_bytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("stop", [1, 4, 7, 9])
def test_a_stopped_plan_goes_on_and_ends_the_same(
    portfolio: Portfolio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(fleet_rows, "PIECE", 700)
    path = many(tmp_path, 200)
    whole = plan_fleet(portfolio, path, tmp_path / "whole", EXACT)
    saves, save = [], fleet._save

    def until(out: Path, journal: object) -> None:
        saves.append(out)
        if len(saves) == stop:
            raise KeyboardInterrupt
        save(out, journal)  # type: ignore[arg-type]  # the journal it was called with

    monkeypatch.setattr(fleet, "_save", until)
    with pytest.raises(KeyboardInterrupt):
        plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    monkeypatch.setattr(fleet, "_save", save)
    assert plan_fleet(portfolio, path, tmp_path / "out", EXACT) == whole
    assert (tmp_path / "out/picks.csv").read_bytes() == (tmp_path / "whole/picks.csv").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from edgeshift.plan import fleet_rows
from edgeshift.plan.fleet import Wanted, plan_fleet
from edgeshift.portfolio import Portfolio

fleet_rows.PIECE, left, fsync = 700, int(sys.argv[4]), os.fsync

def until(handle):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)

os.fsync = until
plan_fleet(Portfolio.open(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Wanted(0.0))
"""


def test_a_killed_plan_goes_on_and_ends_the_same(portfolio: Portfolio, tmp_path: Path) -> None:
    path = many(tmp_path, 200)
    plan_fleet(portfolio, path, tmp_path / "whole", EXACT)
    words = [sys.executable, "-c", KILLED, str(tmp_path / "p"), str(path), str(tmp_path / "out")]
    ends = []
    for syncs in (5, 12, 10, 9):  # before the first set is known, while picks are written, twice more
        ends.append(subprocess.run([*words, str(syncs)], check=False).returncode)
    assert ends == [-signal.SIGKILL] * 4
    assert json.loads((tmp_path / "out/journal.json").read_text())["stage"] == 2
    plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    for name in ("picks.csv", "plan.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_plan_is_found_again(portfolio: Portfolio, tmp_path: Path) -> None:
    path = many(tmp_path, 20)
    assert plan_fleet(portfolio, path, tmp_path / "out") == plan_fleet(portfolio, path, tmp_path / "out")


def test_the_folder_of_another_question_is_not_written_to(portfolio: Portfolio, tmp_path: Path) -> None:
    path = many(tmp_path, 20)
    plan_fleet(portfolio, path, tmp_path / "out")
    with pytest.raises(FolderTaken, match="must hold the plan of the same fleet and portfolio, got another"):
        plan_fleet(portfolio, path, tmp_path / "out", EXACT)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,latency_ms", "a,1"], "must be distinct and hold device"),
        (["device,latency_ms,latency_ms", "a,1,1"], "must be distinct and hold device"),
        (["device,volts,latency_ms", "a,1,1"], "must be one of device, speed, .*got 'volts'"),
        (["device,speed", "a,1"], "must hold at least one limit such as latency_ms"),
        (["device,latency_ms", "a,1", "b,2,3"], "row 2 of .* must have 2 cells, got 3: .*'b', '2', '3'"),
        (
            ["device,latency_ms", "a,1", "b,x"],
            "latency_ms of device 'b', row 2 of .* must be a number, got 'x'",
        ),
        (["device,latency_ms", "a,-1"], "device 'a', row 1 of .* must be above 0 and finite, got '-1'"),
        (["device,latency_ms", "a,inf"], "device 'a', row 1 of .* must be above 0 and finite, got 'inf'"),
        (["device,latency_ms", "a,1", "b,nan"], "device 'b', row 2 of .* above 0 and finite, got 'nan'"),
        (["device,latency_ms,speed", "a,1,nan"], "speed of device 'a', row 1 of .* finite, got 'nan'"),
        (
            ["device,latency_ms,clock", "a,1,", "b,1,2"],
            "clock of device 'b', row 2 of .* at most 1, .*got '2'",
        ),
        (
            ["device,accuracy", "a,91"],
            "accuracy of device 'a', .* at most 1, a share, not a percentage, got '91'",
        ),
        (["device,latency_ms", "a,1", ",1"], "device in row 2 of .* must have a name, got ''"),
        (["device,latency_ms"], "must hold at least one device, got none"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_row(
    portfolio: Portfolio, tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(BadData, match=message):
        plan_fleet(portfolio, rows(tmp_path, *lines), tmp_path / "out")


def test_no_file_and_one_of_another_encoding_are_refused(portfolio: Portfolio, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="fleet must be a CSV file"):
        plan_fleet(portfolio, tmp_path / "none.csv", tmp_path / "out")
    path = rows(tmp_path, "device,latency_ms", "a,1")
    path.write_bytes(path.read_bytes() + "Gerät,2\n".encode("latin-1"))
    with pytest.raises(BadData, match=r"must be UTF-8 text, got the byte 0xe4"):
        plan_fleet(portfolio, path, tmp_path / "out")


@pytest.mark.parametrize(
    ("wanted", "message"), [(Wanted(30), "loss must be 0..1"), (Wanted(0, -1), "multiple")]
)
def test_a_loss_in_points_is_refused(
    portfolio: Portfolio, tmp_path: Path, wanted: Wanted, message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        plan_fleet(portfolio, rows(tmp_path, "device,latency_ms", "a,1"), tmp_path / "out", wanted)


def test_lines_of_any_kind_and_a_byte_order_mark_are_read(portfolio: Portfolio, tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_bytes("\ufeffdevice,latency_ms\r\na\u2028b,9\r\n\r\nc,2".encode())
    plan_fleet(portfolio, path, tmp_path / "out", EXACT)
    assert {d: r["name"] for d, r in picks(tmp_path / "out").items()} == {
        "a\u2028b": "level-0",
        "c": "level-1",
    }


def test_names_with_commas_stay_one_cell(portfolio: Portfolio, tmp_path: Path) -> None:
    path = rows(tmp_path, "device,latency_ms", '"Pi 5, 8 GB ""lab""",9')
    plan_fleet(portfolio, path, tmp_path / "out")
    assert list(picks(tmp_path / "out")) == ['Pi 5, 8 GB "lab"']


def test_the_journal_is_json_that_names_the_question(portfolio: Portfolio, tmp_path: Path) -> None:
    plan_fleet(portfolio, many(tmp_path, 20), tmp_path / "out")
    journal = json.loads((tmp_path / "out/journal.json").read_text())
    assert (journal["stage"], journal["rows"], journal["wanted"]["loss"]) == (2, 20, 0.003)
