# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's digits."""

import numpy as np
from sklearn.datasets import load_digits

from edgeshift.core.values import SPLITS
from edgeshift.data import open_set


def test_the_splits_have_fixed_sizes() -> None:
    found = open_set("digits")
    assert [len(found.split(which)) for which in SPLITS] == [1106, 300, 391]


def test_each_class_has_its_share_in_each_split() -> None:
    found = open_set("digits")
    whole = np.bincount(load_digits().target)
    for which, percent in (("validation", 17), ("test", 22)):
        assert np.bincount(found.split(which).labels).tolist() == (whole * percent // 100).tolist()


def test_the_splits_together_are_the_whole_set() -> None:
    found = open_set("digits")
    rows = [found.split(which).images.reshape(-1, 64) for which in SPLITS]
    whole = load_digits().data
    # 16 grey levels become 0, 16, 32, 48, 64, 80, 96, 112, 128, 143, ... 255.
    expected = np.floor(whole * 255 / 16 + 0.5).astype(np.uint8)
    assert sorted(map(bytes, np.concatenate(rows))) == sorted(map(bytes, expected))


def test_full_ink_is_255_and_half_rounds_up() -> None:
    images = open_set("digits").split("train").images
    assert images.max() == 255
    assert set(np.unique(images).tolist()) == {
        0,
        16,
        32,
        48,
        64,
        80,
        96,
        112,
        128,
        143,
        159,
        175,
        191,
        207,
        223,
        239,
        255,
    }


def test_the_classes_are_the_digits() -> None:
    assert open_set("digits").classes == tuple("0123456789")
