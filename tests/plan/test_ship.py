# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeshift.core.errors import BadValue
from edgeshift.plan.ship import ship

ACCURACY = np.array([0.70, 0.80, 0.90])


def test_one_variant_is_enough_where_all_can_run_the_best() -> None:
    found = ship({0b111: 5}, ACCURACY, 0.0)
    assert (found.places, found.mean_loss, found.worst_loss, found.smallest) == ((2,), 0.0, 0.0, True)


def test_a_device_that_can_be_served_is() -> None:
    # 99 devices run anything, one only the smallest: it must be shipped whatever the mean loss may be.
    found = ship({0b111: 99, 0b001: 1}, ACCURACY, 1.0)
    assert 0 in found.places
    assert found.places == (0,)
    assert found.mean_loss == pytest.approx(0.99 * 0.2)


def test_a_stated_loss_saves_a_variant() -> None:
    fleet = {0b111: 90, 0b011: 9, 0b001: 1}
    assert ship(fleet, ACCURACY, 0.0).places == (2, 1, 0)
    some = ship(fleet, ACCURACY, 0.01)  # without the middle one 9 of 100 devices lose 0.1
    assert some.places == (2, 0)
    assert (some.mean_loss, some.worst_loss) == (pytest.approx(0.009), pytest.approx(0.1))


def test_devices_that_nothing_fits_ask_for_nothing() -> None:
    assert ship({0: 1000, 0b100: 1}, ACCURACY, 0.0).places == (2,)


def brute(fleet: dict[int, int], accuracy: np.ndarray, loss: float) -> int:
    """Size of the smallest set, by trying all."""
    v, total = len(accuracy), sum(c for m, c in fleet.items() if m)
    for k in range(1, v + 1):
        for chosen in itertools.combinations(range(v), k):
            lost = 0.0
            for mask, count in fleet.items():
                best = max((accuracy[i] for i in range(v) if mask >> i & 1), default=None)
                own = max((accuracy[i] for i in chosen if mask >> i & 1), default=None)
                if best is not None:
                    lost += np.inf if own is None else count * (best - own)
            if lost / total <= loss + 1e-15:
                return k
    raise AssertionError


@settings(deadline=None, max_examples=60)
@given(
    fleet=st.dictionaries(st.integers(1, 63), st.integers(1, 50), min_size=1, max_size=12),
    steps=st.lists(st.integers(0, 100), min_size=6, max_size=6),
    loss=st.sampled_from([0.0, 0.003, 0.05]),
)
def test_no_smaller_set_keeps_the_loss(fleet: dict[int, int], steps: list[int], loss: float) -> None:
    accuracy = np.array(steps) / 100
    found = ship(fleet, accuracy, loss)
    assert found.mean_loss <= loss + 1e-12
    assert found.smallest
    assert len(found.places) == brute(fleet, accuracy, loss)


def test_a_fleet_that_nothing_fits_is_refused() -> None:
    with pytest.raises(BadValue, match="devices that a variant fits must be at least one, got 0"):
        ship({0: 7}, ACCURACY, 0.1)


def test_more_variants_than_bits_are_refused() -> None:
    with pytest.raises(BadValue, match=r"must be 1\.\.64, got 65"):
        ship({1: 1}, np.linspace(0, 1, 65), 0.1)
