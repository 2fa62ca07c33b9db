# SPDX-License-Identifier: Apache-2.0
"""`edgeshift devices` and `edgeshift probe` as a user types them."""

import json
from pathlib import Path

import pytest

from edgeshift.cli.app import main
from edgeshift.devices import DeviceProfile, write_profile


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and errors."""
    with pytest.raises(SystemExit) as left:
        main(list(words))
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_boards_that_come_along_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "devices", "--json")
    assert code == 0
    assert {"raspberry-pi-4", "raspberry-pi-5"} <= {profile["name"] for profile in json.loads(out)}


def test_one_board_is_shown_with_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "devices", "raspberry-pi-5")
    assert code == 0
    assert "clock_ghz: https://" in out


def test_an_added_device_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGESHIFT_DATA", str(tmp_path))
    write_profile(DeviceProfile("mine", cores=3), tmp_path / "mine.json")
    assert run(capsys, "devices", "--add", str(tmp_path / "mine.json"), "--name", "my-board")[0] == 0
    code, out, _ = run(capsys, "devices", "my-board", "--json")
    assert (code, json.loads(out)[0]["cores"]) == (0, 3)


def test_an_unknown_device_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "devices", "raspbery-pi-5")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "no device named 'raspbery-pi-5'; did you mean 'raspberry-pi-5'?" in err


def test_a_probe_with_a_bad_name_stops_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "probe", "--name", "my board", "--out", str(tmp_path / "x.json"))
    assert code == 2
    assert "name of the device must be lower-case letters" in err
    assert not (tmp_path / "x.json").exists()
