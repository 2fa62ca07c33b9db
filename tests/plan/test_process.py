# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.plan.process import smooth_mean


def test_what_was_seen_is_told_again() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (60, 5))
    y = 3 + np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
    # Noise of at most a hundredth of the signal is allowed for, and the gains' own range is 4.
    assert np.abs(smooth_mean(x, y)(x) - y).max() < 0.1


def test_between_what_was_seen_a_smooth_gain_is_followed() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.uniform(-1, 1, (200, 3)), rng.uniform(-0.8, 0.8, (100, 3))
    found = smooth_mean(x, (x**2).sum(1))(z)
    assert np.abs(found - (z**2).sum(1)).max() < 0.02  # the gain's own range is 3


def test_equal_gains_and_equal_rows_are_taken() -> None:
    x = np.ones((4, 2))
    assert smooth_mean(x, np.full(4, 7.0))(x) == pytest.approx(np.full(4, 7.0))


def test_rows_without_values_are_refused() -> None:
    with pytest.raises(BadValue, match=r"rows and values of a process must be equally many, .* got \(2, 1\)"):
        smooth_mean(np.ones((2, 2)), np.ones(1))
