# SPDX-License-Identifier: Apache-2.0
"""What all criteria promise."""

import pytest
import torch

from edgeshift.sparsity import CRITERIA

NAMES = CRITERIA.names()


def weight(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 7), (6,), (1,), (0, 3)])
def test_the_score_has_the_shape_of_the_weight(name: str, shape: tuple[int, ...]) -> None:
    assert CRITERIA.make(name).score(weight(*shape)).shape == shape


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_float32_without_gradient(name: str) -> None:
    score = CRITERIA.make(name).score(torch.nn.Parameter(weight(4, 3).double()))
    assert (score.dtype, score.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_is_not_changed(name: str) -> None:
    w = weight(4, 3)
    CRITERIA.make(name).score(w).fill_(9)
    assert torch.equal(w, weight(4, 3))


@pytest.mark.parametrize("name", NAMES)
def test_equal_weights_get_equal_scores(name: str) -> None:
    first, second = (CRITERIA.make(name).score(weight(4, 3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_memory_order_does_not_matter(name: str) -> None:
    w = weight(4, 3, 3, 3)
    score = CRITERIA.make(name).score(w.to(memory_format=torch.channels_last))
    assert torch.equal(score, CRITERIA.make(name).score(w))


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_that_is_nan_shows_in_the_score(name: str) -> None:
    w = weight(4, 3)
    w[1, 2] = float("nan")
    assert CRITERIA.make(name).score(w).isnan().nonzero().tolist() == [[1, 2]]
