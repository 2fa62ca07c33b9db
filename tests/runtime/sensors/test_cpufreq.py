# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from edgeshift.runtime.sensors.cpufreq import Cpufreq


def policy(root: Path, number: int, **clocks: str) -> None:
    """One frequency policy with these files."""
    folder = root / f"sys/devices/system/cpu/cpufreq/policy{number}"
    folder.mkdir(parents=True)
    for name, said in clocks.items():
        (folder / name).write_text(said)


def test_the_share_is_present_over_full_clock(tmp_path: Path) -> None:
    policy(tmp_path, 0, scaling_cur_freq="600000", scaling_max_freq="2400000", cpuinfo_max_freq="2400000")
    assert Cpufreq().read(tmp_path) == 0.25


def test_a_thermal_cap_shows_though_the_request_stays(tmp_path: Path) -> None:
    policy(tmp_path, 0, scaling_cur_freq="2400000", scaling_max_freq="1200000", cpuinfo_max_freq="2400000")
    assert Cpufreq().read(tmp_path) == 0.5


def test_the_slowest_cluster_counts(tmp_path: Path) -> None:
    policy(tmp_path, 0, scaling_cur_freq="1800000", cpuinfo_max_freq="1800000")
    policy(tmp_path, 4, scaling_cur_freq="600000", cpuinfo_max_freq="2400000")
    assert Cpufreq().read(tmp_path) == 0.25


def test_boost_is_full_clock(tmp_path: Path) -> None:
    policy(tmp_path, 0, scaling_cur_freq="3000000", cpuinfo_max_freq="2400000")
    assert Cpufreq().read(tmp_path) == 1.0


def test_no_full_clock_no_share(tmp_path: Path) -> None:
    policy(tmp_path, 0, scaling_cur_freq="600000", cpuinfo_max_freq="0")
    assert Cpufreq().read(tmp_path) is None
