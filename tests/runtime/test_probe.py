# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.runtime.probe import matching, number, parsed, text


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("42\n", 42.0),
        (" 1.5 ", 1.5),
        ("-3", -3.0),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("", None),
        ("3 4", None),
    ],
)
def test_a_file_is_one_finite_number_or_none(said: str, value: float | None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(said)
    assert number(tmp_path / "file") == value


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert [text(tmp_path / name) for name in ("absent", "bytes", ".")] == [None, None, None]
    assert parsed(None) is None


def test_a_long_file_is_read_to_its_first_4096_bytes(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("1" * 5000)
    assert text(tmp_path / "long") == "1" * 4096


def test_places_come_in_order(tmp_path: Path) -> None:
    for name in ("b2", "b1", "c"):
        (tmp_path / name).mkdir()
    assert [path.name for path in matching(tmp_path, "b*")] == ["b1", "b2"]
