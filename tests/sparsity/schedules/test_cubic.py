# SPDX-License-Identifier: Apache-2.0
from edgeshift.sparsity.schedules.cubic import Cubic


def test_half_way_one_eighth_of_what_goes_is_left() -> None:
    # 0.2 + 0.8 * 0.5 ** 3 = 0.2 + 0.1
    assert Cubic().keep(5, 10, 0.2) == 0.2 + 0.8 * 0.125


def test_it_begins_dense() -> None:
    assert Cubic().keep(0, 10, 0.2) == 1
