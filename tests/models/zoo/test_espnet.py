# SPDX-License-Identifier: Apache-2.0
"""ESPNet: what its blocks reach, and what the trained one scores on CamVid."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgeshift import models
from edgeshift.core.errors import BadValue
from edgeshift.models.zoo.espnet import Espnet, Pyramid

NAME = "camvid_espnet_p2_q8"
CLASSES, VOID = 11, 11
needs_data = pytest.mark.skipif(
    not os.environ.get("EDGESHIFT_DATA"), reason="EDGESHIFT_DATA names no folder with camvid and weights"
)


def bare(before: int, after: int, value: float) -> Pyramid:
    """A pyramid without norm whose narrow input is input channel 0 and whose dilated kernels are constant."""
    block = Pyramid(before, after)
    block.bn = nn.Identity()
    with torch.no_grad():
        for name, weight in block.named_parameters():
            weight.fill_(0 if name.startswith("c1") else value)
        block.c1.conv.weight[:, 0] = 1
    return block


def test_the_wider_dilations_are_summed_from_small_to_large() -> None:
    # One point of 3x3 kernels of ones reaches its own pixel once per dilation: 1, 1, 2, 3 and 4 times.
    image = torch.zeros(1, 5, 41, 41)
    image[0, 0, 20, 20] = 1
    out = bare(5, 5, 1.0)(image)[0]
    assert out[:, 20, 20].tolist() == [1, 1, 2, 3, 4]
    reached = [(out[c, 20].nonzero().flatten() - 20).tolist() for c in range(5)]
    assert reached[0] == [-1, 0, 1]
    assert reached[1] == [-2, 0, 2]
    assert reached[4] == [-16, -8, -4, -2, 0, 2, 4, 8, 16]


def test_the_first_dilation_takes_what_five_does_not_divide() -> None:
    # 128 = 28 + 4 * 25
    block = Pyramid(131, 128, down=True)
    assert [tuple(block.get_submodule(f"d{d}").conv.weight.shape[:2]) for d in (1, 2, 4, 8, 16)] == [
        (28, 25),
        *[(25, 25)] * 4,
    ]


def test_it_answers_for_every_pixel_at_full_size() -> None:
    model = models.build(models.resolve(NAME)).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 360, 480)).shape == (1, 12, 360, 480)


def test_the_decoder_may_be_wider_than_the_classes() -> None:
    model = Espnet(width=7).build(2, (3, 24, 32)).eval()
    assert model(torch.zeros(1, 3, 24, 32)).shape == (1, 2, 24, 32)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"blocks": [2]}, "blocks must be two positive numbers"), ({"width": 4}, "width must be at least 5")],
)
def test_options_that_build_nothing_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(BadValue, match=said):
        Espnet(**options)


def pairs(count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The first test images, `(height, width, 3)` red, green, blue, and their labels."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed; CamVid's images are WebP")
    with np.load(Path(os.environ["EDGESHIFT_DATA"]) / "camvid" / "test.npz") as held:
        files, offsets, labels = held["images_webp"], held["offsets"], held["labels"]
    for i in range(min(count, len(labels))):
        opened = image.open(io.BytesIO(files[offsets[i] : offsets[i + 1]].tobytes()))
        yield np.asarray(opened.convert("RGB")), labels[i]


def confusion(count: int) -> NDArray[np.int64]:
    """Pixels by label (rows) and answer (columns) over the first test images, void left out."""
    ref = models.resolve(NAME)
    model = models.build(ref).eval()
    models.load_weights(model, NAME)
    mean, std = np.float32(ref.mean), np.float32(ref.std)
    found = np.zeros((CLASSES, CLASSES), np.int64)
    for rgb, labels in pairs(count):
        bgr = (np.float32(rgb[..., ::-1]) / 255 - mean) / std
        with torch.inference_mode():
            logits = model(torch.from_numpy(bgr.transpose(2, 0, 1)[None].copy()))[0]
        answers = logits[:CLASSES].argmax(0).numpy()
        known = labels != VOID
        cells = labels[known].astype(np.int64) * CLASSES + answers[known]
        found += np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return found


@needs_data
def test_it_gets_nine_of_ten_pixels_of_the_first_image_right() -> None:
    counts = confusion(1)
    assert counts.trace() / counts.sum() > 0.9


@needs_data
@pytest.mark.slow
def test_it_reaches_its_documented_mean_intersection_over_union() -> None:
    counts = confusion(233)
    both = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - both
    documented = models.pretrained()[NAME].top1
    assert documented is not None
    assert abs(100 * float((both / union).mean()) - 55.81) < 0.1
    assert abs(both.sum() / counts.sum() - documented) < 0.001
