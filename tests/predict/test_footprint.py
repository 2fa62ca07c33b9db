# SPDX-License-Identifier: Apache-2.0
"""Peak memory from what must be alive at once."""

import numpy as np
import pytest

from edgeshift.predict import MODELS
from edgeshift.predict.footprint import terms
from edgeshift.predict.network import COUNT_NAMES, count_matrix
from edgeshift.predict.samples import Samples
from tests.predict.made import chain, networks, queries


def test_the_terms_of_one_convolution_are_counted_by_hand() -> None:
    # 8 x 8 pixels: conv 3 -> 5, linear 320 -> 10.
    found = terms(chain("x", (5,), side=8))
    peak, weights, given, moved, blocked, unrolled = found[:6]
    # input 768; output of the convolution 1280; of the linear layer 40.
    assert (peak, given, moved) == (768 + 1280 + 40, 768, 768 + 1280)
    assert weights == 4 * (135 + 320 * 10)
    assert (unrolled, blocked) == (4 * 64 * 27, max(4 * 64 * (8 + 8), 4 * (320 + 16)))


def test_a_runtime_that_keeps_weights_and_live_values_is_learnt() -> None:
    known, unseen = networks(60), networks(15, seed=2)

    def kept(found: tuple[object, ...]) -> np.ndarray:
        return np.array([2e6 + n.peak_bytes + 2 * n.weight_bytes for n in found], float)  # type: ignore[attr-defined]  # Network

    cost = kept(known)[:, None]
    given = Samples(
        count_matrix(known), cost, ("here",), COUNT_NAMES, known, quantity="peak_memory", unit="bytes"
    )
    found = MODELS.make("stacked", trees=10).fit(given.check(), "here").predict(queries(unseen)).check()
    assert found.unit == "bytes"
    assert found.value == pytest.approx(kept(unseen), rel=0.01)
