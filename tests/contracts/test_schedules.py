# SPDX-License-Identifier: Apache-2.0
"""What all schedules promise."""

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.sparsity import SCHEDULES

NAMES = SCHEDULES.names()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("final", [0.001, 0.3, 1.0])
@pytest.mark.parametrize("total", [1, 7])
def test_it_ends_at_the_final_fraction_exactly_and_stays(name: str, final: float, total: int) -> None:
    schedule = SCHEDULES.make(name)
    assert [schedule.keep(step, total, final) for step in (total, total + 1, 1000)] == [final] * 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("final", [1e-9, 0.1, 0.7, 1.0])
def test_it_never_rises_and_stays_between_final_and_1(name: str, final: float) -> None:
    kept = [SCHEDULES.make(name).keep(step, 50, final) for step in range(60)]
    assert kept == sorted(kept, reverse=True)
    assert final <= min(kept) <= max(kept) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments_are_refused(name: str) -> None:
    schedule = SCHEDULES.make(name)
    with pytest.raises(BadValue, match="total must be at least 1, got 0"):
        schedule.keep(0, 0, 0.5)
    with pytest.raises(BadValue, match="step must be 0 or more, got -1"):
        schedule.keep(-1, 5, 0.5)
    with pytest.raises(BadValue, match="final must be above 0 and at most 1, got 0"):
        schedule.keep(0, 5, 0)
