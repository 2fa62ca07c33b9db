# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from edgeshift.runtime.sensors.battery import Battery


def supply(root: Path, name: str, **files: str) -> Path:
    """One power supply with these files."""
    folder = root / "sys/class/power_supply" / name
    folder.mkdir(parents=True)
    for file, said in files.items():
        (folder / file).write_text(said + "\n")
    return root


def test_the_emptiest_battery_counts(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", capacity="80")
    supply(tmp_path, "BAT1", type="Battery", capacity="35")
    assert Battery().read(tmp_path) == 35.0


def test_mains_and_the_battery_of_a_mouse_do_not_count(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="1", capacity="7")
    supply(tmp_path, "hid", type="Battery", scope="Device", capacity="3")
    assert Battery().read(tmp_path) is None


def test_charge_left_stands_in_for_a_missing_capacity(tmp_path: Path) -> None:
    supply(tmp_path, "bq27", type="Battery", charge_now="500000", charge_full="2000000")
    assert Battery().read(tmp_path) == 25.0


def test_energy_left_stands_in_where_there_is_no_charge(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", energy_now="30000000", energy_full="40000000")
    assert Battery().read(tmp_path) == 75.0


def test_the_sign_of_the_current_changes_nothing(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", capacity="60", current_now="-900000")
    assert Battery().read(tmp_path) == 60.0


def test_an_absent_pack_and_an_absurd_charge_are_none(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", present="0", capacity="50")
    supply(tmp_path, "BAT1", type="Battery", capacity="101")
    assert Battery().read(tmp_path) is None
