# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from edgeshift.core.errors import BadValue, FolderTaken, UnknownName
from edgeshift.derive.comparison import Comparison, Entry, claim, compare
from edgeshift.derive.job import Job


def job(out: Path) -> Job:
    return Job("resnet8", "digits", out, levels=(1.0, 0.5), epochs=1, threads=1)


def test_every_method_runs_with_every_seed(tmp_path: Path) -> None:
    entries = Comparison(job(tmp_path), ("rigl", "one_shot"), (0, 1)).runs()
    assert [e.name for e in entries] == ["rigl-0", "rigl-1", "one_shot-0", "one_shot-1"]


def test_a_twin_takes_the_architectures_of_its_original(tmp_path: Path) -> None:
    found = Comparison(job(tmp_path), ("rigl",)).job_of(Entry("rigl", 3, twin=True))
    assert found.method == "scratch"
    assert found.method_options == {"found": str(tmp_path / "runs" / "rigl-3" / "work" / "levels")}
    assert (found.out, found.seed, found.resume) == (tmp_path / "runs" / "rigl-3-scratch", 3, True)


def test_bad_comparisons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="methods must be at least one, each once"):
        Comparison(job(tmp_path), ("rigl", "rigl")).check()
    with pytest.raises(UnknownName, match="no method named 'rigle'; did you mean 'rigl'"):
        Comparison(job(tmp_path), ("rigle",)).check()
    with pytest.raises(BadValue, match="option of a method must be of one that is compared: rigl, got 'n_m'"):
        Comparison(job(tmp_path), ("rigl",), options={"n_m": {"m": 8}}).check()
    with pytest.raises(BadValue, match="workers must be at least 1, got 0"):
        Comparison(job(tmp_path), ("rigl",), workers=0).check()


def test_another_comparison_is_not_continued(tmp_path: Path) -> None:
    claim(Comparison(job(tmp_path / "c"), ("rigl",)))
    claim(Comparison(job(tmp_path / "c"), ("rigl", "one_shot"), (0, 1)))  # more may be asked later
    other = Job("resnet8", "digits", tmp_path / "c", levels=(1.0, 0.5), epochs=2, threads=1)
    with pytest.raises(BadValue, match=r"epochs of the comparison in .* must be 1 as before, got 2"):
        claim(Comparison(other, ("rigl",)))


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FolderTaken, match="out must be a new or empty folder or a comparison"):
        claim(Comparison(job(tmp_path), ("rigl",)))


@pytest.mark.slow
def test_methods_are_compared_in_processes_and_measured_together(tmp_path: Path) -> None:
    comparison = Comparison(job(tmp_path / "c"), ("one_shot", "rigl"), workers=2)
    found = compare(comparison)
    assert [e.name for e in found] == ["one_shot-0", "rigl-0"]
    assert all(len(p) == 2 for p in found.values())
    again = compare(comparison)
    assert [[v.id for v in p] for p in again.values()] == [[v.id for v in p] for p in found.values()]
