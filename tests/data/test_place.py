# SPDX-License-Identifier: Apache-2.0
"""Where the user keeps downloaded data sets."""

from pathlib import Path

import pytest

from edgeshift.core.errors import BadData
from edgeshift.data.place import set_folder


def test_the_given_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESHIFT_DATA", "/elsewhere")
    assert set_folder(str(tmp_path), "cifar10", "files") == tmp_path


def test_the_variable_names_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("EDGESHIFT_DATA", str(tmp_path))
    assert set_folder("", "cifar10", "files") == tmp_path / "cifar10"


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESHIFT_DATA", raising=False)
    want = "EDGESHIFT_DATA must name a folder with cifar10/ that holds files, got nothing"
    with pytest.raises(BadData, match=want):
        set_folder("", "cifar10", "files")


def test_a_folder_without_the_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESHIFT_DATA", str(tmp_path))
    with pytest.raises(BadData, match=f"must name a folder with cifar10/ that holds files, got {tmp_path}"):
        set_folder("", "cifar10", "files")


def test_a_given_folder_must_exist() -> None:
    with pytest.raises(BadData, match="folder of cifar10 must hold files, got nowhere, which does not exist"):
        set_folder("nowhere", "cifar10", "files")
