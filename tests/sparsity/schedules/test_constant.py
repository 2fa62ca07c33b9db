# SPDX-License-Identifier: Apache-2.0
from edgeshift.sparsity.schedules.constant import Constant


def test_all_goes_at_once() -> None:
    assert [Constant().keep(step, 4, 0.5) for step in range(5)] == [0.5] * 5
