# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from edgeshift.runtime.sensors.jetson import Jetson


def plant(folder: Path, **files: str) -> None:
    """These files in a folder."""
    folder.mkdir(parents=True)
    for name, said in files.items():
        (folder / name).write_text(said + "\n")


def test_the_input_rail_is_the_power_of_the_board(tmp_path: Path) -> None:
    hwmon = tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon3"
    plant(
        hwmon,
        in1_label="VDD_IN",
        in1_input="5000",
        curr1_input="1200",
        in2_label="VDD_CPU_GPU_CV",
        in2_input="5000",
        curr2_input="400",
    )
    assert Jetson().read(tmp_path) == 6.0


def test_without_an_input_rail_all_rails_count_but_not_the_sum_of_shunts(tmp_path: Path) -> None:
    plant(
        tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon3",
        in1_label="VDD_GPU_SOC",
        in1_input="10000",
        curr1_input="500",
        in2_label="VDD_CPU_CV",
        in2_input="10000",
        curr2_input="250",
        in7_label="sum of shunt voltages",
        in7_input="900",
        curr7_input="900",
    )
    assert Jetson().read(tmp_path) == 7.5


def test_the_older_paths_are_read(tmp_path: Path) -> None:
    plant(
        tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0",
        rail_name_0="POM_5V_IN",
        in_voltage0_input="4800",
        in_current0_input="500",
    )
    assert Jetson().read(tmp_path) == 2.4


def test_a_rail_with_a_negative_current_is_left_out(tmp_path: Path) -> None:
    plant(
        tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon3",
        in1_label="VDD_IN",
        in1_input="5000",
        curr1_input="-8",
    )
    assert Jetson().read(tmp_path) is None
