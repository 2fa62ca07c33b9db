# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.core.errors import BadValue, FolderTaken
from edgeshift.core.recipe import Recipe
from edgeshift.core.values import ModelRef
from edgeshift.derive.folder import check_out, claim, scratch
from edgeshift.portfolio import Portfolio

REF = ModelRef("resnet8", 10, (1, 8, 8))


def taken(out: Path, *, resume: bool, seed: int = 0) -> Portfolio:
    """The folder, claimed for a small recipe."""
    return claim(out, REF, {"name": "digits"}, Recipe("build", 1, {"seed": seed}), resume=resume)


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    assert len(taken(tmp_path / "a" / "b", resume=False)) == 0


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert len(taken(tmp_path, resume=False)) == 0


def test_halves_that_a_crash_left_do_not_count(tmp_path: Path) -> None:
    (tmp_path / ".part-abc").write_bytes(b"half")
    assert len(taken(tmp_path, resume=False)) == 0


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FolderTaken, match=r"out must be a folder, got the file .*out"):
        check_out(tmp_path / "out", resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(
        FolderTaken, match=r"out must be a new or empty folder, got .* with 'thesis.txt' in it"
    ):
        check_out(tmp_path, resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_build_is_not_overwritten(tmp_path: Path) -> None:
    taken(tmp_path, resume=False)
    with pytest.raises(FolderTaken, match=r"got a build in .*; go on with --resume"):
        taken(tmp_path, resume=False)


def test_an_equal_build_goes_on(tmp_path: Path) -> None:
    assert taken(tmp_path, resume=True).recipe == taken(tmp_path, resume=True).recipe


def test_another_build_does_not_go_on_and_the_option_is_named(tmp_path: Path) -> None:
    taken(tmp_path, resume=False)
    with pytest.raises(BadValue, match=r"seed of the build in .* must be 0 as when it began, got 1"):
        taken(tmp_path, resume=True, seed=1)


def test_files_in_the_making_go_with_their_folder(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "half").write_bytes(b"half")
    assert not folder.exists()
