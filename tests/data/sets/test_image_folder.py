# SPDX-License-Identifier: Apache-2.0
"""Image files in class folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeshift.core.errors import BadData, BadValue
from edgeshift.core.values import SPLITS
from edgeshift.data import open_set


def write(folder: Path, count: int, mode: str = "L", size: tuple[int, int] = (5, 4), start: int = 0) -> None:
    """Images that all differ, by their grey level."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        Image.new(mode, size, i if mode in ("1", "L", "P") else (i,) * len(mode)).save(folder / f"{i:03}.png")


def levels(root: Path, which: str) -> list[int]:
    return open_set(root).split(which).images[:, 0, 0, 0].tolist()


def read_all(root: Path) -> None:
    for which in SPLITS:
        open_set(root).split(which)


def test_class_folders_are_split_without_loss(tmp_path: Path) -> None:
    write(tmp_path / "cat", 40)
    write(tmp_path / "dog", 20, start=40)
    found = open_set(tmp_path)
    assert (found.classes, found.input_shape) == (("cat", "dog"), (1, 4, 5))
    assert [np.bincount(found.split(which).labels).tolist() for which in SPLITS] == [[28, 14], [6, 3], [6, 3]]
    assert sorted(level for which in SPLITS for level in levels(tmp_path, which)) == list(range(60))


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    write(tmp_path / "cat", 40)
    write(tmp_path / "dog", 20, start=40)
    for which in SPLITS:
        assert open_set(tmp_path).split(which).labels.tolist() == [
            int(v >= 40) for v in levels(tmp_path, which)
        ]


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_split_folders_are_kept(validation: str, tmp_path: Path) -> None:
    for i, which in enumerate(("train", validation, "test")):
        write(tmp_path / which / "a", 2, start=10 * i)
        write(tmp_path / which / "b", 1, start=10 * i + 5)
    assert [levels(tmp_path, which) for which in SPLITS] == [[0, 1, 5], [10, 11, 15], [20, 21, 25]]


def test_validation_is_cut_from_train_where_it_is_absent(tmp_path: Path) -> None:
    for which, count in (("train", 20), ("test", 3)):
        write(tmp_path / which / "a", count)
        write(tmp_path / which / "b", count, start=100)
    found = open_set(tmp_path)
    assert [len(found.split(which)) for which in SPLITS] == [34, 6, 6]


def test_a_split_does_not_hang_on_where_the_folder_lies(tmp_path: Path) -> None:
    for root in ("one", "two"):
        write(tmp_path / root / "a", 20)
        write(tmp_path / root / "b", 20, start=100)
    assert (
        open_set(tmp_path / "one").split("test").sha256() == open_set(tmp_path / "two").split("test").sha256()
    )


def test_rgb_keeps_its_channels_in_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (2, 2), (1, 2, i)).save(tmp_path / name / f"{i}.png")
    found = open_set(tmp_path)
    assert found.input_shape == (3, 2, 2)
    assert found.split("train").images[0, :2, 0, 0].tolist() == [1, 2]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, 3)
        (tmp_path / name / "notes.txt").write_text("not an image")
        (tmp_path / name / ".hidden.png").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    assert open_set(tmp_path).classes == ("a", "b")


def test_images_can_be_resized(tmp_path: Path) -> None:
    write(tmp_path / "a", 3, size=(8, 8))
    write(tmp_path / "b", 3, size=(5, 9), start=100)
    found = open_set(tmp_path, options={"height": 3, "width": 2})
    assert found.split("train").images.shape[1:] == (1, 3, 2)
    assert found.split("train").images[0].min() == found.split("train").images[0].max()


def test_one_side_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"height and width must be both above 0, or both 0, got \(8, 0\)"):
        open_set(tmp_path, options={"height": 8})


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 3, size=(9, 9))
    want = r"b/00.\.png must be \(1, 4, 5\) .* options height and width resize, got \(1, 9, 9\)"
    with pytest.raises(BadData, match=want):
        open_set(tmp_path).split("train")


def test_grey_among_colour_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 3, mode="RGB")
    write(tmp_path / "b", 3)
    with pytest.raises(BadData, match=r"b/00.\.png must be \(3, 4, 5\) .*, got \(1, 4, 5\)"):
        open_set(tmp_path).split("train")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_refused(mode: str, tmp_path: Path) -> None:
    write(tmp_path / "a", 3, mode=mode)
    write(tmp_path / "b", 3, mode=mode)
    with pytest.raises(BadData, match=f"must be grey or RGB with 8 bits, got mode {mode}"):
        open_set(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 2)
    (tmp_path / "b" / "x.png").write_bytes(b"not an image")
    with pytest.raises(BadData, match=r"x.png must be an image, got: cannot identify"):
        read_all(tmp_path)


def test_an_image_cut_short_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 3)
    path = tmp_path / "a" / "000.png"
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(BadData, match=r"000.png must be an image, got:"):
        read_all(tmp_path)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="must hold at least 2 class folders, got none"):
        open_set(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "only", 5)
    with pytest.raises(BadData, match="must hold at least 2 class folders, got only"):
        open_set(tmp_path)


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)
    (tmp_path / "b").mkdir()
    with pytest.raises(BadData, match=r"b must hold images \(.bmp, .*\), got none"):
        open_set(tmp_path)


def test_a_class_too_small_to_split_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 5)
    write(tmp_path / "b", 2)
    with pytest.raises(BadData, match="class 1 must have at least 3 images, one for each split, got 2"):
        open_set(tmp_path)


def test_split_folders_must_hold_the_same_classes(tmp_path: Path) -> None:
    for which, name in (("train", "b"), ("test", "c")):
        write(tmp_path / which / "a", 5)
        write(tmp_path / which / name, 5)
    with pytest.raises(BadData, match=r"test must hold the class folders a, b, got \['a', 'c'\]"):
        open_set(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for which in ("train", "val", "valid"):
        write(tmp_path / which / "a", 1)
        write(tmp_path / which / "b", 1)
    with pytest.raises(BadData, match="must hold one folder for validation, got val and valid"):
        open_set(tmp_path)
