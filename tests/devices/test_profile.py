# SPDX-License-Identifier: Apache-2.0
"""Profiles in and out, by name and from files."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from edgeshift.core.errors import BadPortfolio, BadValue, UnknownName
from edgeshift.devices import DeviceProfile, device, import_profile, names, read_profile, write_profile
from edgeshift.devices.machine import caches
from edgeshift.devices.profile import NUMBERS, SHELF, profile_from_json, this_machine


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    mine = DeviceProfile("mine", cores=4, clock_ghz=1.8, sources={"cores": "the box"}, probe={"rows": []})
    write_profile(mine, tmp_path / "mine.json")
    assert read_profile(tmp_path / "mine.json") == mine


@pytest.mark.parametrize("path", sorted(SHELF.glob("*.json")), ids=lambda path: path.stem)
def test_every_known_number_of_a_board_names_its_source(path: Path) -> None:
    profile = read_profile(path)
    known = {name for name in NUMBERS if getattr(profile, name)} - {"threads", "batch_size"}
    assert path.stem == profile.name
    assert known <= set(profile.sources)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "device profile must be a JSON object, got 'list'"),
        ({"name": "x", "speed": 1}, "field of a device profile must be one of name, .*, got 'speed'"),
        ({"name": "x", "cores": "4"}, "cores must be a number, got '4'"),
        ({"name": "x", "cores": True}, "cores must be a number, got True"),
        ({"name": "x", "cores": -1}, "cores of x must be 0 or more, got -1"),
        ({"name": "x", "clock_ghz": float("nan")}, "clock_ghz of x must be 0 or more, got nan"),
        ({"name": "../x"}, "name of the device must be lower-case letters, digits, dots and dashes"),
        ({"name": "x", "precision": "int3"}, "precision must be one of fp32, fp16, bf16, int8, got 'int3'"),
        ({"name": "x", "threads": 0}, "threads and batch_size must be from 1"),
        ({"name": "x", "sources": {"speed": "?"}}, "sources of x must be names of fields"),
        ({"cores": 1}, "device profile must be one with a name"),
    ],
)
def test_a_malformed_profile_is_refused(raw: object, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        profile_from_json(raw)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(BadPortfolio, match="must be JSON"):
        read_profile(tmp_path / "x.json")


def test_an_unknown_device_names_a_near_one() -> None:
    with pytest.raises(UnknownName, match="no device named 'raspberry-pi-6'; did you mean"):
        device("raspberry-pi-6")


def test_an_imported_device_is_known_by_its_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESHIFT_DATA", str(tmp_path))
    write_profile(DeviceProfile("mine", cores=4), tmp_path / "found.json")
    place = import_profile(tmp_path / "found.json", "my-board")
    assert place == tmp_path / "devices/my-board.json"
    assert "my-board" in names()
    assert device("my-board") == DeviceProfile("my-board", cores=4)


def test_without_a_folder_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESHIFT_DATA", raising=False)
    write_profile(DeviceProfile("mine"), tmp_path / "mine.json")
    with pytest.raises(BadValue, match="EDGESHIFT_DATA must be the folder that keeps your devices"):
        import_profile(tmp_path / "mine.json")


def test_the_flat_description_holds_what_is_known() -> None:
    probe = {"summary": {"launch_us": 1.5}, "rows": [{"ms": 1}]}
    flat = DeviceProfile("x", chip="A53", cores=4, probe=probe).flat()
    assert flat == {
        "chip": "A53", "precision": "fp32", "cores": 4, "threads": 1, "batch_size": 1,
        "probe_launch_us": 1.5, "probe_rows": [{"ms": 1}],
    }  # fmt: skip


def test_this_machine_is_read_from_its_system_files(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name : Toy CPU\ncpu MHz : 2400.0\nflags : fpu avx2\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:       2097152 kB\n")
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "32K"), ("1", "Instruction", "64K"), ("3", "Unified", "4M")]
    ):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    found = this_machine("toy", tmp_path)
    assert (found.chip, found.clock_ghz, found.isa, found.vector_bits) == ("Toy CPU", 2.4, "AVX2", 256)
    assert (found.l1_kib, found.l3_kib, found.memory_gib) == (32, 4096, 2.0)


def test_a_machine_that_says_nothing_has_no_caches(tmp_path: Path) -> None:
    assert caches(tmp_path) == {}


def test_a_profile_is_plain_json() -> None:
    assert json.loads(json.dumps(asdict(this_machine())))["name"] == "this"
