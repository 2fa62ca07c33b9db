# SPDX-License-Identifier: Apache-2.0
import pytest

from edgeshift.sparsity.schedules.geometric import Geometric


@pytest.mark.parametrize("step", range(26))
def test_it_is_a_power_of_the_share_kept_at_each_step(step: int) -> None:
    assert Geometric().keep(step, 25, 0.8**25) == pytest.approx(0.8**step, rel=1e-12)  # one rounding of pow
