# SPDX-License-Identifier: Apache-2.0
"""A folder of variants."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeshift.core.errors import BadPortfolio, BadValue, FolderTaken, UnknownName
from edgeshift.core.values import Measurement
from edgeshift.portfolio import Portfolio
from tests.portfolio.made import DATA, MODEL, RECIPE, draft, files


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_what_is_added_is_there_when_opened_again(two: Portfolio) -> None:
    found = Portfolio.open(two.path)
    assert [v.name for v in found] == ["level-0", "level-1"]
    assert found.variants == two.variants
    assert (found.model, found.data, found.recipe) == (MODEL, DATA, RECIPE)


def test_the_portfolio_it_was_added_to_is_not_changed(empty: Portfolio) -> None:
    empty.add(draft(), files())
    assert len(empty) == 0


def test_files_lie_under_their_checksums_and_cannot_be_written(two: Portfolio) -> None:
    for variant in two:
        for role, file in variant.files.items():
            path = two.path_of(variant, role)
            assert path == two.path / "blobs" / file.sha256
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
            assert path.stat().st_size == file.size_bytes


def test_equal_files_are_stored_once(two: Portfolio) -> None:
    # onnx and log differ between the two variants; weights and golden are equal.
    assert len(list((two.path / "blobs").iterdir())) == 2 * 2 + 2


def test_the_id_is_that_of_the_content(empty: Portfolio, tmp_path: Path) -> None:
    other = Portfolio.create(tmp_path / "q", MODEL, DATA, {"another": 1})
    one = empty.add(draft("a", 0.9), files(0)).variants[0]
    same = other.add(draft("b", 0.1), {**files(0), "log": b"another day"}).variants[0]
    assert one.id == same.id


def test_other_content_has_another_id(two: Portfolio) -> None:
    assert two.variants[0].id != two.variants[1].id


def test_adding_twice_is_adding_once(two: Portfolio) -> None:
    again = two.add(draft("level-0", 0.7), files(0))
    assert [v.name for v in again] == ["level-0", "level-1"]
    assert again.variants[0].accuracy["validation"] == 0.7


def test_a_file_can_be_copied_in(empty: Portfolio, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    found = empty.add(draft(), {**files(), "extra": tmp_path / "big"})
    assert found.read(found.variants[0], "extra") == b"x" * 3_000_000
    assert found.variants[0].files["extra"].size_bytes == 3_000_000


def test_a_file_that_is_missing_is_named(empty: Portfolio, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"file to store must be an existing file, got '.*none'"):
        empty.add(draft(), {"onnx": tmp_path / "none"})


def test_a_damaged_blob_is_written_again(two: Portfolio) -> None:
    path = two.path_of(two.variants[0], "onnx")
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    two.add(draft("level-0"), files(0))
    assert two.verify().files == 6


def test_two_variants_cannot_have_one_name(two: Portfolio) -> None:
    before = tree(two.path)["portfolio.json"]
    with pytest.raises(BadValue, match="name of a variant must be the only one of that name, got 'level-1'"):
        two.add(draft("level-1"), files(2))
    assert tree(two.path)["portfolio.json"] == before


def test_what_is_out_of_range_is_not_added(empty: Portfolio) -> None:
    with pytest.raises(BadValue, match=r"accuracy of level-0 must be 0..1"):
        empty.add(replace(draft(), accuracy={"validation": 1.5}), files())
    assert len(Portfolio.open(empty.path)) == 0


def test_what_is_no_json_is_not_added(empty: Portfolio) -> None:
    with pytest.raises(BadValue, match="manifest must be JSON values only, got"):
        empty.add(replace(draft(), recipe={"loss": float("nan")}), files())
    assert len(Portfolio.open(empty.path)) == 0


def test_figures_are_replaced_by_their_protocol(two: Portfolio) -> None:
    more = (Measurement("latency", 7.0, "ms"), Measurement("latency", 20.0, "ms", batch_size=32))
    found = Portfolio.open(two.remeasured(two.variants[0], more).path).variants[0]
    assert [(m.quantity, m.batch_size, m.value) for m in found.measurements] == [
        ("latency", 1, 7.0),
        ("peak_memory", 1, 1000.0),
        ("latency", 32, 20.0),
    ]
    assert found.id == two.variants[0].id


def test_a_portfolio_that_another_process_changed_is_not_overwritten(two: Portfolio) -> None:
    stale = Portfolio.open(two.path)
    two.add(draft("level-2"), files(2))
    with pytest.raises(FolderTaken, match="must be written by one process, got changed since it was read"):
        stale.add(draft("level-3"), files(3))
    assert [v.name for v in Portfolio.open(two.path)] == ["level-0", "level-1", "level-2"]


def test_a_variant_is_found_by_name_and_id(two: Portfolio) -> None:
    assert two.find("level-1") == two.variants[1] == two.find(two.variants[1].id)


def test_an_unknown_variant_is_named_with_its_neighbour(two: Portfolio) -> None:
    with pytest.raises(UnknownName, match=r"no variant named 'level-9'; did you mean 'level-\d'?"):
        two.find("level-9")


def test_an_unknown_file_is_named(two: Portfolio) -> None:
    with pytest.raises(UnknownName, match=r"no file named 'onxx'; did you mean 'onnx'?"):
        two.path_of(two.variants[0], "onxx")


def test_the_front_is_that_of_its_variants(two: Portfolio) -> None:
    assert [v.name for v in two.front()] == ["level-0", "level-1"]
    assert [v.name for v in two.front(("accuracy",))] == ["level-0"]


def test_another_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(FolderTaken, match=r"must be empty or hold a portfolio, got 'holiday.jpg' in it"):
        Portfolio.create(tmp_path, MODEL, DATA, RECIPE)
    assert tree(tmp_path) == {"holiday.jpg": b""}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(FolderTaken, match="must be a folder, got a file; choose another --out"):
        Portfolio.create(tmp_path / "f", MODEL, DATA, RECIPE)


@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("model", (replace(MODEL, classes=3), DATA, RECIPE)),
        ("data", (MODEL, {"name": "other"}, RECIPE)),
        ("recipe", (MODEL, DATA, {**RECIPE, "levels": [1.0]})),
    ],
)
def test_a_portfolio_of_something_else_is_taken(two: Portfolio, what: str, asked: tuple) -> None:
    before = tree(two.path)
    with pytest.raises(FolderTaken, match=f"must hold the same {what}, got a portfolio of another one"):
        Portfolio.create(two.path, *asked)
    assert tree(two.path) == before


def test_the_same_build_goes_on(two: Portfolio) -> None:
    assert Portfolio.create(two.path, MODEL, DATA, RECIPE).variants == two.variants


def test_what_a_crash_left_before_the_first_manifest_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".part-0123").write_bytes(b"half")
    assert len(Portfolio.create(tmp_path, MODEL, DATA, RECIPE)) == 0


def test_leftovers_are_ignored_and_swept(two: Portfolio) -> None:
    (two.path / "blobs" / ("f" * 64)).write_bytes(b"12345")
    (two.path / "blobs" / ".part-77").write_bytes(b"123")
    (two.path / ".part-78").write_bytes(b"12")
    (two.path / "report.html").write_bytes(b"stays")
    assert Portfolio.open(two.path).verify().files == 6
    assert two.sweep() == 10
    assert two.verify().files == 6
    assert len(tree(two.path)) == 6 + 2
    assert two.sweep() == 0


def test_equal_portfolios_have_no_difference(two: Portfolio) -> None:
    assert two.diff(Portfolio.open(two.path)).same


def test_a_difference_names_what_was_added_removed_and_changed(two: Portfolio) -> None:
    changed = two.remeasured(two.variants[1], [Measurement("latency", 5.0, "ms")]).add(
        draft("level-2"), files(2)
    )
    found = replace(two, manifest=replace(two.manifest, variants=two.variants)).diff(changed)
    assert [v.name for v in found.added] == ["level-2"]
    assert list(found.changed) == [two.variants[1].id]
    assert list(found.changed[two.variants[1].id]) == ["measurements"]
    assert [v.name for v in changed.diff(two).removed] == ["level-2"]
    assert [line[0] for line in found.lines()] == ["+", "~"]


def test_no_folder_is_no_portfolio(tmp_path: Path) -> None:
    with pytest.raises(BadPortfolio, match=r"must hold a plain file portfolio.json, got none"):
        Portfolio.open(tmp_path / "none")


def test_the_manifest_is_readable_json(two: Portfolio) -> None:
    raw = json.loads((two.path / "portfolio.json").read_text())
    assert sorted(raw) == ["body", "format", "sha256"]
    assert stat.S_IMODE((two.path / "portfolio.json").stat().st_mode) & 0o044 == 0o044 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_portfolio_opens_without_torch() -> None:
    program = "import sys, edgeshift.portfolio; print([m for m in ('torch', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
