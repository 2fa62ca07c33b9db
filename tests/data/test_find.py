# SPDX-License-Identifier: Apache-2.0
"""From a name or a path to a data set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeshift.core.errors import BadData, BadValue, UnknownName
from edgeshift.data import open_set


def test_a_name_is_found() -> None:
    assert open_set("digits").name == "digits"


def test_an_npz_file_is_found_and_called_by_its_stem(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.arange(96, dtype=np.uint8).reshape(6, 4, 4), labels=[0, 1] * 3)
    assert open_set(tmp_path / "mine.npz").name == "mine"


def test_a_folder_is_found_and_called_by_its_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("L", (2, 2), i).save(tmp_path / name / f"{i}.png")
    assert open_set(str(tmp_path)).name == tmp_path.name


def test_options_reach_the_plug_in() -> None:
    first, second = (open_set("digits", options={"seed": s}).split("test").sha256() for s in (0, 1))
    assert first != second


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(
        UnknownName, match=r"no data set, folder or .npz file named 'cifar'; did you mean 'cifar10'"
    ):
        open_set("cifar")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(BadValue, match="option of digits must be one of seed, got 'sed'"):
        open_set("digits", options={"sed": 1})


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(BadData, match=r"npz data must be a path to an .npz file, got nowhere.npz"):
        open_set("nowhere.npz")
