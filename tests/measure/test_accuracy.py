# SPDX-License-Identifier: Apache-2.0
"""Top-1 of what is shipped."""

import numpy as np
import pytest

from edgeshift.core.errors import BadData, BadValue, NotFinite
from edgeshift.measure import accuracy


class Echo:
    """Answers its input."""

    threads = 1
    runtime = "echo"

    def run(self, inputs: np.ndarray) -> np.ndarray:
        return inputs


SCORES = np.array([[1, 0], [0, 1], [2, 1], [0, 3], [5, 4]], np.float32)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_it_is_the_share_of_right_answers(batch_size: int) -> None:
    assert accuracy(Echo(), SCORES, np.array([0, 1, 0, 0, 1]), batch_size) == 0.6


def test_equal_scores_mean_the_first_class() -> None:
    assert accuracy(Echo(), np.zeros((2, 3), np.float32), np.array([0, 2])) == 0.5


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(BadData, match="split must have one label per image and at least one image, got"):
        accuracy(Echo(), SCORES[:0], np.zeros(0, np.int64))


def test_a_missing_label_is_refused() -> None:
    with pytest.raises(BadData, match=r"one label per image and at least one image, got \(5, 2\), \(4,\)"):
        accuracy(Echo(), SCORES, np.zeros(4, np.int64))


def test_pixels_are_refused() -> None:
    with pytest.raises(BadValue, match="dtype of the images must be float32, normalised, got 'uint8'"):
        accuracy(Echo(), SCORES.astype(np.uint8), np.zeros(5, np.int64))


def test_answers_must_be_numbers() -> None:
    wrong = SCORES.copy()
    wrong[3, 1] = np.nan
    with pytest.raises(NotFinite, match="answers must be finite, got NaN or infinity in the batch at 2"):
        accuracy(Echo(), wrong, np.zeros(5, np.int64), 2)
