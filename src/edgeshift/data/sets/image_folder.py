# SPDX-License-Identifier: Apache-2.0
"""Image files in class folders."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadData, BadValue, NotInstalled
from edgeshift.data.parts import stratified
from edgeshift.data.split import DataSet, Split

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
# Split -> names of the folder that is taken for it.
FOLDERS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
# Pillow's modes of 8 bits or less without transparency -> channels; these convert without loss.
CHANNELS = {"1": 1, "L": 1, "P": 3, "RGB": 3}
MODES = {1: "L", 3: "RGB"}


def pillow() -> ModuleType:
    """Pillow's Image module.

    Raises:
        NotInstalled: If it is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise NotInstalled("pillow", "derive") from error
    return Image


def read_image(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image as `(channels, height, width)`, uint8.

    Args:
        path: An image of 8 bits per channel, grey or RGB.
        size: `(height, width)` to resize to, bilinear; None keeps the image's own.

    Raises:
        BadData: If the file is no such image.
    """
    image_module = pillow()
    try:
        with image_module.open(path) as image:
            if image.mode not in CHANNELS:
                raise BadData(f"{path} must be grey or RGB with 8 bits, got mode {image.mode}")
            plain = image.convert(MODES[CHANNELS[image.mode]])
            if size is not None and plain.size != size[::-1]:
                plain = plain.resize(size[::-1], image_module.Resampling.BILINEAR)
            pixels = np.array(plain, np.uint8)
    except (OSError, SyntaxError, image_module.DecompressionBombError) as error:
        raise BadData(f"{path} must be an image, got: {error}") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder that are not hidden, sorted."""
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """Image files in a folder and below, in the order of their paths."""
    files = (f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and not f.name.startswith("."))
    return sorted((f for f in files if f.is_file()), key=lambda f: f.relative_to(folder).as_posix())


@dataclass(frozen=True)
class Listing:
    """Files of one split and their classes, not yet read.

    Attributes:
        files: Paths.
        labels: `(n,)`, int64.
    """

    files: list[Path]
    labels: NDArray[np.int64]

    def part(self, chosen: NDArray[np.int64]) -> "Listing":
        """The files with those indices."""
        return Listing([self.files[i] for i in chosen], self.labels[chosen])

    def read(self, shape: tuple[int, int, int], size: tuple[int, int] | None) -> Split:
        """The images, all of one shape.

        Raises:
            BadData: Names the first file of another shape.
        """
        images = np.empty((len(self.files), *shape), np.uint8)
        for i, file in enumerate(self.files):
            pixels = read_image(file, size)
            if pixels.shape != shape:
                want = (
                    f"{shape} (channels, height, width) like the first image; options height and width resize"
                )
                raise BadData(f"{file} must be {want}, got {pixels.shape}")
            images[i] = pixels
        return Split(images, self.labels)


def list_files(folder: Path, classes: list[str]) -> Listing:
    """Every image below the class folders.

    Raises:
        BadData: If a class has no folder, no images, or the folder has other classes.
    """
    if class_folders(folder) != classes:
        raise BadData(
            f"{folder} must hold the class folders {', '.join(classes)}, got {class_folders(folder)}"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = image_files(folder / name)
        if not found:
            raise BadData(f"{folder / name} must hold images ({', '.join(ENDINGS)}), got none")
        files += found
        labels += [label] * len(found)
    return Listing(files, np.array(labels, np.int64))


@dataclass(frozen=True)
class ImageFolder:
    """A folder of class folders, or of `train`, `val` and `test` folders that hold class folders.

    Splits without a folder are cut from `train`, class by class; a file's place hangs on its path below the
    class folder. Images must be of one size and one number of channels unless `height` and `width` are given.

    Attributes:
        path: The folder.
        height: Resize to this many pixels; 0 keeps the images' own size.
        width: The same; both or neither.
        seed: Another seed, another split.
        validation: Percent of each class to choose variants by, where no folder says.
        test: Percent of each class to report on, where no folder says.
    """

    card: ClassVar[Card] = Card(
        name="image_folder",
        says="Your own image files in one folder per class.",
        paper="house rule",
        needs="nothing",
    )

    path: str = ""
    height: int = 0
    width: int = 0
    seed: int = 0
    validation: int = 15
    test: int = 15

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 0 or (self.height > 0) != (self.width > 0):
            raise BadValue("height and width", (self.height, self.width), "both above 0, or both 0")

    def open(self) -> DataSet:
        """See `Source.open`; images are decoded when a split is first asked for."""
        root = Path(self.path)
        if not self.path or not root.is_dir():
            raise BadData(f"image folder must be a folder of class folders, got {self.path or 'nothing'}")
        listings, classes = self.listings(root)
        size = (self.height, self.width) if self.height else None
        channels, height, width = read_image(listings["train"].files[0], size).shape
        shape = (channels, height, width)

        def read(which: str) -> Split:
            return listings[which].read(shape, size)

        return DataSet(root.resolve().name, shape, tuple(classes), read)

    def listings(self, root: Path) -> tuple[dict[str, Listing], list[str]]:
        """Split name -> its files, and the class names."""
        held = class_folders(root)
        named = {split: [n for n in names if n in held] for split, names in FOLDERS.items()}
        if named["train"]:
            for split, names in named.items():
                if len(names) > 1:
                    raise BadData(f"{root} must hold one folder for {split}, got {' and '.join(names)}")
            folders = {split: root / names[0] for split, names in named.items() if names}
        else:
            folders = {"train": root}
        classes = class_folders(folders["train"])
        if len(classes) < 2:
            got = ", ".join(classes) or "none"
            raise BadData(f"{folders['train']} must hold at least 2 class folders, got {got}")
        found = {split: list_files(folder, classes) for split, folder in folders.items()}
        missing = {n: p for n, p in (("validation", self.validation), ("test", self.test)) if n not in found}
        if missing:
            found.update(self.cut(folders["train"], found["train"], missing))
        return found, classes

    def cut(self, folder: Path, whole: Listing, missing: dict[str, int]) -> dict[str, Listing]:
        """The training files in splits."""
        keys = [f.relative_to(folder).as_posix() for f in whole.files]
        shares = {"validation": 0, "test": 0, **missing}
        parts = stratified(whole.labels, keys, self.seed, **shares)
        return {name: whole.part(chosen) for name, chosen in parts.items()}
