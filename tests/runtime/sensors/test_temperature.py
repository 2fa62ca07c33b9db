# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.runtime.sensors.temperature import Temperature


def zones(root: Path, *kinds: tuple[str, str]) -> Path:
    """Thermal zones of these types and temperatures."""
    for number, (kind, temp) in enumerate(kinds):
        folder = root / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(kind + "\n")
        (folder / "temp").write_text(temp + "\n")
    return root


@pytest.mark.parametrize("kind", ["cpu-thermal", "CPU-therm", "x86_pkg_temp"])
def test_the_zone_of_the_cpu_counts_by_its_type(kind: str, tmp_path: Path) -> None:
    assert Temperature().read(zones(tmp_path, ("battery", "90000"), (kind, "51500"))) == 51.5


def test_without_a_cpu_zone_the_hottest_counts(tmp_path: Path) -> None:
    assert Temperature().read(zones(tmp_path, ("acpitz", "40000"), ("wifi", "42000"))) == 42.0


def test_a_zone_can_be_asked_for(tmp_path: Path) -> None:
    root = zones(tmp_path, ("cpu-thermal", "70000"), ("GPU-therm", "40000"))
    assert Temperature(zone="gpu").read(root) == 40.0
    assert Temperature(zone="npu").read(root) is None


def test_an_absurd_zone_is_left_out(tmp_path: Path) -> None:
    root = zones(tmp_path, ("cpu-a", "-256000"), ("cpu-b", "65535000"), ("cpu-c", "30000"))
    assert Temperature().read(root) == 30.0
