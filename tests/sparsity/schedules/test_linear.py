# SPDX-License-Identifier: Apache-2.0
from edgeshift.sparsity.schedules.linear import Linear


def test_half_way_half_of_what_goes_is_gone() -> None:
    assert [Linear().keep(step, 4, 0.5) for step in range(5)] == [1, 0.875, 0.75, 0.625, 0.5]
