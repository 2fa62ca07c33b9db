# SPDX-License-Identifier: Apache-2.0
"""What all patterns promise."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeshift.core.errors import BadValue, NotFinite
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity import PATTERNS

NAMES = PATTERNS.names()
SHAPES = {"a.weight": (6, 3, 3, 3), "b.weight": (4, 6, 1, 1), "c.weight": (4, 5)}
KEEPS = [0.999, 0.9, 0.6180339887, 0.5]


def rows(channels: int) -> np.ndarray:
    return np.arange(channels, dtype=np.int64).reshape(-1, 1)


GROUPS = tuple(
    ChannelGroup(name.removesuffix(".weight"), {name: rows(shape[0])}, macs=10.0)
    for name, shape in SHAPES.items()
)


def scores(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [1.0, *KEEPS])
def test_every_score_gets_a_bool_mask_of_its_shape(name: str, keep: float) -> None:
    masks = PATTERNS.make(name).masks(scores(), keep, GROUPS)
    assert {n: (tuple(m.shape), m.dtype) for n, m in masks.items()} == {
        n: (s, torch.bool) for n, s in SHAPES.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_keeping_all_keeps_all(name: str) -> None:
    assert all(m.all() for m in PATTERNS.make(name).masks(scores(), 1.0, GROUPS).values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", KEEPS)
def test_the_same_scores_give_the_same_masks(name: str, keep: float) -> None:
    first, second = (PATTERNS.make(name).masks(scores(), keep, GROUPS) for _ in range(2))
    assert equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_kept_are_among_the_more_kept(name: str) -> None:
    ladder = [PATTERNS.make(name).masks(scores(), keep, GROUPS) for keep in [1.0, *KEEPS]]
    for more, fewer in pairwise(ladder):
        assert all((more[n] | ~fewer[n]).all() for n in SHAPES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_gone_never_comes_back(name: str, seed: int) -> None:
    pattern = PATTERNS.make(name)
    before = pattern.masks(scores(), 0.7, GROUPS)
    later = {n: s.masked_fill(~before[n], float("-inf")) for n, s in scores(seed + 1).items()}
    after = pattern.masks(later, 0.5, GROUPS)
    assert all((before[n] | ~after[n]).all() for n in SHAPES)


@pytest.mark.parametrize("name", NAMES)
def test_scores_that_are_all_zero_still_give_a_mask(name: str) -> None:
    masks = PATTERNS.make(name).masks({n: torch.zeros(s) for n, s in SHAPES.items()}, 0.5, GROUPS)
    assert 0 < sum(int(m.sum()) for m in masks.values()) < sum(m.numel() for m in masks.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_by_name(name: str, bad: float) -> None:
    broken = scores()
    broken["b.weight"][1, 2] = bad
    with pytest.raises(NotFinite, match=f"score of b.weight must be finite, got {bad}"):
        PATTERNS.make(name).masks(broken, 0.5, GROUPS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(name: str, keep: float) -> None:
    with pytest.raises(BadValue, match=f"keep must be 0 to 1, got {keep}"):
        PATTERNS.make(name).masks(scores(), keep, GROUPS)


@pytest.mark.parametrize("name", NAMES)
def test_no_scores_are_refused(name: str) -> None:
    with pytest.raises(BadValue, match="scores must be at least one tensor"):
        PATTERNS.make(name).masks({}, 0.5, GROUPS)
