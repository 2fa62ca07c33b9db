# SPDX-License-Identifier: Apache-2.0
"""What all sensors promise, whatever the files hold."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeshift.runtime import SENSORS

NAMES = SENSORS.names()
CPU, ZONE = "sys/devices/system/cpu/cpufreq/policy0", "sys/class/thermal/thermal_zone0"
SUPPLY, PI = "sys/class/power_supply/BAT0", "sys/devices/platform/soc/soc:firmware/get_throttled"
HWMON, IIO = "sys/bus/i2c/devices/1-0040/hwmon/hwmon3", "sys/bus/i2c/drivers/ina3221x/1-0041/iio:device0"
# Every file that any sensor reads, with what a device at rest says there.
SOUND = {
    f"{CPU}/scaling_cur_freq": "1800000",
    f"{CPU}/scaling_max_freq": "1800000",
    f"{CPU}/cpuinfo_max_freq": "1800000",
    f"{ZONE}/type": "cpu-thermal",
    f"{ZONE}/temp": "45000",
    f"{SUPPLY}/type": "Battery",
    f"{SUPPLY}/scope": "System",
    f"{SUPPLY}/present": "1",
    f"{SUPPLY}/capacity": "80",
    f"{SUPPLY}/charge_now": "800000",
    f"{SUPPLY}/charge_full": "1000000",
    PI: "0x0",
    f"{HWMON}/in1_label": "VDD_IN",
    f"{HWMON}/in1_input": "5000",
    f"{HWMON}/curr1_input": "1000",
    f"{IIO}/rail_name_0": "POM_5V_IN",
    f"{IIO}/in_voltage0_input": "5000",
    f"{IIO}/in_current0_input": "1000",
    "proc/pressure/cpu": "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 total=0",
    "run/edgeshift/upload_kbit_s": "5000",
}
# What is in a file; None = no such file, a folder = a read that fails with an error of the system.
FOLDER = "a folder in its place"
WRONG = [
    None,
    FOLDER,
    b"",
    b"\n",
    b"garbage",
    b"-1",
    b"-5000000",
    b"nan",
    b"inf",
    b"1e400",
    b"99999999999999999999",
]
WRONG += [
    b"\xff\xfe\x00",
    b"0x",
    b"1_0",
    b"some avg10=",
    b"some avg10=nan",
    b"=",
    b"0",
    "٣".encode(),
    b"7" * 9000,
]


def plant(root: Path, files: dict[str, bytes | str | None]) -> Path:
    """A tree with these files."""
    for name, content in files.items():
        place = root / name
        if content == FOLDER:
            place.mkdir(parents=True)
        elif content is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def sound_or_none(name: str, root: Path) -> None:
    """Reads, and compares with the contract."""
    value = SENSORS.make(name).read(root)
    assert value is None or (isinstance(value, float) and math.isfinite(value) and value >= -40)


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_tree_gives_a_number(name: str, tmp_path: Path) -> None:
    assert isinstance(SENSORS.make(name).read(plant(tmp_path, dict(SOUND))), float)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_tree_gives_none(name: str, tmp_path: Path) -> None:
    assert SENSORS.make(name).read(tmp_path) is None
    assert SENSORS.make(name).read(tmp_path / "absent") is None


@pytest.mark.parametrize("name", NAMES)
def test_it_says_its_unit(name: str) -> None:
    assert SENSORS.find(name).unit


@pytest.mark.parametrize("content", WRONG, ids=lambda c: repr(c)[:24])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_wrong_content_everywhere_is_no_reading_that_cannot_be(
    name: str, content: bytes | str | None, tmp_path: Path
) -> None:
    sound_or_none(name, plant(tmp_path, dict.fromkeys(SOUND, content)))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changed=st.dictionaries(st.sampled_from(sorted(SOUND)), st.sampled_from(WRONG) | st.binary(max_size=40)),
    number=st.integers(0, 10**9),
)
def test_no_content_makes_any_of_them_raise(
    changed: dict[str, bytes | str | None], number: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = plant(tmp_path_factory.mktemp(f"tree{number}"), {**SOUND, **changed})
    for name in NAMES:
        sound_or_none(name, root)


@pytest.mark.slow
def test_ten_thousand_random_trees_make_none_of_them_raise(tmp_path: Path) -> None:
    source = random.Random(0)
    for number in range(10_000):
        changed = {}
        for place in source.sample(sorted(SOUND), source.randint(1, len(SOUND))):
            noise = bytes(source.randrange(256) for _ in range(source.randrange(12)))
            changed[place] = source.choice([*WRONG, noise, str(source.uniform(-1e6, 1e6)).encode()])
        root = plant(tmp_path / str(number % 50) / str(number), {**SOUND, **changed})
        for name in NAMES:
            sound_or_none(name, root)
