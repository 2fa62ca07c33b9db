# SPDX-License-Identifier: Apache-2.0
"""What all criteria promise."""

import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.sparsity import CRITERIA

NAMES = CRITERIA.names()
# Those that need more than weights are given it: a statistic of the weight's shape.
WITH_STAT = [c.name for c in CRITERIA.cards() if c.needs not in ("weights", "nothing")]


def weight(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def scored(name: str, w: torch.Tensor) -> torch.Tensor:
    stat = torch.ones(w.shape) if name in WITH_STAT else None
    return CRITERIA.make(name).score(w, stat)


@pytest.mark.parametrize("name", WITH_STAT)
def test_what_it_needs_is_asked_for(name: str) -> None:
    with pytest.raises(BadValue, match=r"stat must be the .*, got None"):
        CRITERIA.make(name).score(weight(4, 3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 7), (6,), (1,), (0, 3)])
def test_the_score_has_the_shape_of_the_weight(name: str, shape: tuple[int, ...]) -> None:
    assert scored(name, weight(*shape)).shape == shape


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_float32_without_gradient(name: str) -> None:
    score = scored(name, torch.nn.Parameter(weight(4, 3).double()))
    assert (score.dtype, score.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_is_not_changed(name: str) -> None:
    w = weight(4, 3)
    scored(name, w).fill_(9)
    assert torch.equal(w, weight(4, 3))


@pytest.mark.parametrize("name", NAMES)
def test_equal_weights_get_equal_scores(name: str) -> None:
    first, second = (scored(name, weight(4, 3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_memory_order_does_not_matter(name: str) -> None:
    w = weight(4, 3, 3, 3)
    score = scored(name, w.to(memory_format=torch.channels_last))
    assert torch.equal(score, scored(name, w))


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_that_is_nan_shows_in_the_score(name: str) -> None:
    w = weight(4, 3)
    w[1, 2] = float("nan")
    assert scored(name, w).isnan().nonzero().tolist() == [[1, 2]]
