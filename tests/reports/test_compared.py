# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.core.errors import BadValue
from edgeshift.reports.compared import compared, hypervolume


def test_the_hypervolume_is_the_area_of_the_steps() -> None:
    # (1, 0.6) covers 3 x 0.1; (2, 0.8) adds 2 x 0.2 on top of it.
    assert hypervolume([(2.0, 0.8), (1.0, 0.6)], (4.0, 0.5)) == pytest.approx(0.7)


def test_what_is_dominated_adds_nothing() -> None:
    assert hypervolume([(1.0, 0.8), (2.0, 0.7)], (4.0, 0.5)) == pytest.approx(0.9)


@pytest.mark.parametrize("point", [(4.0, 0.9), (5.0, 0.9), (1.0, 0.5), (1.0, 0.4)])
def test_what_is_no_better_than_the_worst_counts_nothing(point: tuple[float, float]) -> None:
    assert hypervolume([point], (4.0, 0.5)) == 0


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(BadValue, match="portfolios must be at least one, got 0"):
        compared({})
