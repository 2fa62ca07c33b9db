# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.runtime.sensors.pressure import Pressure


@pytest.mark.parametrize(
    ("said", "percent"),
    [
        ("some avg10=12.34 avg60=0.00 avg300=0.00 total=9\nfull avg10=99.00 avg60=0 avg300=0 total=0", 12.34),
        ("full avg10=99.00 avg60=0 avg300=0 total=0", None),
        ("some avg10=101.0 avg60=0.00", None),
        ("some avg10=-1.0", None),
        ("some avg60=5.0", None),
    ],
)
def test_the_share_of_the_last_10_seconds(said: str, percent: float | None, tmp_path: Path) -> None:
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/cpu").write_text(said)
    assert Pressure().read(tmp_path) == percent
