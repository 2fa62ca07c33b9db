# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from edgeshift.core.seeds import seed_for


@given(seed=st.integers(), level=st.integers(), epoch=st.integers())
def test_a_seed_fits_63_bits(seed: int, level: int, epoch: int) -> None:
    assert 0 <= seed_for(seed, "shuffle", level, epoch) < 2**63


def test_each_purpose_has_a_seed_of_its_own() -> None:
    seeds = {seed_for(s, p, n) for s in range(5) for p in ("shuffle", "augment") for n in range(5)}
    assert len(seeds) == 50


def test_a_seed_is_the_same_in_every_process() -> None:
    assert seed_for(0, "shuffle", 1, 2) == 8895240160307591480
