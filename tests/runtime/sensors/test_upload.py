# SPDX-License-Identifier: Apache-2.0
import os
import time
from pathlib import Path

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.runtime.sensors.upload import Upload


def told(root: Path, said: str, age_s: float = 0.0) -> Path:
    """The application's file, written that long ago."""
    place = root / "run/edgeshift/upload_kbit_s"
    place.parent.mkdir(parents=True)
    place.write_text(said)
    at = time.time() - age_s
    os.utime(place, (at, at))
    return root


@pytest.mark.parametrize(
    ("said", "age_s", "kbit_s"),
    [("5000\n", 0, 5000.0), ("5000", 6, None), ("5000", -3600, None), ("0", 0, None), ("1e9", 0, None)],
)
def test_it_is_the_number_of_a_fresh_file(
    said: str, age_s: float, kbit_s: float | None, tmp_path: Path
) -> None:
    assert Upload().read(told(tmp_path, said, age_s)) == kbit_s


def test_the_path_stays_below_the_root() -> None:
    with pytest.raises(BadValue, match=r"path must be a relative path below the root, got '\.\./secret'"):
        Upload(path="../secret")
    with pytest.raises(BadValue, match="max_age_s must be a finite number above 0, got 0"):
        Upload(max_age_s=0)
