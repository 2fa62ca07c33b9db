# SPDX-License-Identifier: Apache-2.0
"""What all data sets promise."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeshift.core.errors import BadData, UnknownName
from edgeshift.core.values import SPLITS
from edgeshift.data import SETS, DataSet, normalise

NAMES = SETS.names()
# Images made up for the sets that read files; enough for every split of CIFAR's fixed sizes.
COUNT = 1_200


def made_up(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, np.arange(count, dtype=np.uint8) % 10


def write_cifar10(folder: Path) -> None:
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        # The last training file must be longer than the 5,000 validation images.
        images, labels = made_up((3072,), 5_010 if "5" in name else 100)
        np.concatenate([labels[:, None], images], 1).tofile(folder / name)


def write_fashion_mnist(folder: Path) -> None:
    for start, count in (("train", COUNT), ("t10k", 100)):
        images, labels = made_up((28, 28), count)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{start}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes(), 1))


def write_image_folder(folder: Path) -> None:
    images, labels = made_up((6, 5, 3), 60)
    for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        (folder / f"class{label}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"class{label}" / f"{i}.png")


@pytest.fixture(scope="module", params=NAMES)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DataSet, DataSet]:
    """A set, opened twice."""
    name, folder = str(request.param), tmp_path_factory.mktemp("set")
    options: dict[str, str] = {}
    match name:
        case "cifar10":
            write_cifar10(folder)
            options = {"folder": str(folder)}
        case "fashion_mnist":
            write_fashion_mnist(folder)
            options = {"folder": str(folder)}
        case "image_folder":
            write_image_folder(folder)
            options = {"path": str(folder)}
        case "npz":
            images, labels = made_up((6, 5), 200)
            np.savez(folder / "made.npz", images=images, labels=labels)
            options = {"path": str(folder / "made.npz")}
    return SETS.make(name, **options).open(), SETS.make(name, **options).open()


def test_splits_are_checked_and_of_the_stated_shape(opened: tuple[DataSet, DataSet]) -> None:
    for which in SPLITS:
        split = opened[0].split(which).check()
        assert split.images.shape[1:] == opened[0].input_shape
        assert len(split) == len(split.images) == len(split.labels) > 0


def test_every_class_is_in_every_split(opened: tuple[DataSet, DataSet]) -> None:
    for which in SPLITS:
        assert set(opened[0].split(which).labels.tolist()) == set(range(len(opened[0].classes)))


def test_classes_have_different_names(opened: tuple[DataSet, DataSet]) -> None:
    assert len(set(opened[0].classes)) == len(opened[0].classes) >= 2


def test_the_split_is_the_same_each_time(opened: tuple[DataSet, DataSet]) -> None:
    first, second = opened
    for which in SPLITS:
        assert first.split(which).sha256() == second.split(which).sha256()


def test_a_split_is_read_once(opened: tuple[DataSet, DataSet]) -> None:
    assert opened[0].split("test") is opened[0].split("test")


def test_normalised_train_images_have_mean_0_and_std_1(opened: tuple[DataSet, DataSet]) -> None:
    found = opened[0]
    images = normalise(found.split("train").images, found.mean, found.std).astype(np.float64)
    # float32 pixels are rounded at 6e-8; their mean stays under it.
    assert np.abs(images.mean((0, 2, 3))).max() < 1e-6
    assert np.abs(images.std((0, 2, 3)) - 1).max() < 1e-6


def test_an_unknown_split_is_refused(opened: tuple[DataSet, DataSet]) -> None:
    with pytest.raises(UnknownName, match="no split named 'valid'; did you mean 'validation'"):
        opened[0].split("valid")


@pytest.mark.parametrize("name", [n for n in NAMES if n != "digits"])
def test_a_set_without_its_files_says_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESHIFT_DATA", raising=False)
    with pytest.raises(BadData, match=r"must (be|name) .*, got nothing"):
        SETS.make(name).open()
