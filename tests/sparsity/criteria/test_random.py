# SPDX-License-Identifier: Apache-2.0
import torch

from edgeshift.sparsity.criteria.random import Random


def test_another_seed_gives_other_scores() -> None:
    w = torch.ones(100)
    assert not torch.equal(Random(seed=1).score(w), Random(seed=2).score(w))


def test_layers_of_one_shape_get_different_scores() -> None:
    assert not torch.equal(Random().score(torch.ones(100)), Random().score(torch.zeros(100)))


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Random().score(torch.ones(10))
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_lie_between_0_and_1() -> None:
    score = Random().score(torch.randn(1000))
    assert 0 <= score.min() < 0.1 < 0.9 < score.max() < 1
