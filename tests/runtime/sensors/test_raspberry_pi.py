# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.runtime.sensors.raspberry_pi import RaspberryPi


def firmware(root: Path, said: str, place: str = "sys/devices/platform/soc/soc:firmware") -> Path:
    """A board whose firmware says that."""
    (root / place).mkdir(parents=True)
    (root / place / "get_throttled").write_text(said)
    return root


@pytest.mark.parametrize(
    ("said", "bits"), [("0\n", 0.0), ("50005\n", 5.0), ("0x50000", 0.0), ("0x8", 8.0), ("F000F", 15.0)]
)
def test_the_low_bits_tell_what_is_limited(said: str, bits: float, tmp_path: Path) -> None:
    assert RaspberryPi().read(firmware(tmp_path, said)) == bits


@pytest.mark.parametrize("said", ["10", "ffffffff", "-1", "1_0", "0x", "throttled=0x0"])
def test_bits_that_do_not_exist_are_none(said: str, tmp_path: Path) -> None:
    assert RaspberryPi().read(firmware(tmp_path, said)) is None


def test_the_path_of_later_boards_is_found(tmp_path: Path) -> None:
    root = firmware(tmp_path, "4", "sys/devices/platform/soc@107c000000/107c000000.soc:firmware")
    assert RaspberryPi().read(root) == 4.0
