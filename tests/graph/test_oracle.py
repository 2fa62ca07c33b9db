# SPDX-License-Identifier: Apache-2.0
"""Nothing that brute force sees to be dead stays without a reason, and nothing goes that it sees matter."""

import random

import pytest
import torch
from torch import nn

from edgeshift.graph import shrink
from tests.graph.oracle import Oracle, share
from tests.graph.random_networks import RandomNetwork, Step, draw_network


def network(*layers: nn.Module) -> RandomNetwork:
    """Layers in a row, as a random network."""
    steps = tuple(Step("layer", (i,), i) for i in range(len(layers)))
    return RandomNetwork(list(layers), steps, (len(layers),)).eval()


X = (torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)),)


def test_brute_force_finds_the_constant_and_the_unread() -> None:
    model = network(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model.layers[0].weight[[0, 4]] = 0  # two constants
        model.layers[2].weight[:, 1] = 0  # one that nobody reads
        model.layers[3].weight[:, 2] = 0  # one in the next layer
    assert Oracle(model, X).answer().dead == {"layers.0": 3, "layers.2": 1, "layers.3": 0}


def test_brute_force_follows_a_cascade() -> None:
    model = network(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model.layers[1].weight[1, 0] = 0  # 1 reads 1 only
        model.layers[1].weight[0, 1] = 0  # 0 reads 0 only
        model.layers[2].weight[:, 1] = 0
    assert Oracle(model, X).answer().dead == {"layers.0": 1, "layers.1": 1, "layers.2": 0}


def test_a_channel_that_never_fires_on_the_samples_is_not_called_dead() -> None:
    model = network(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model.layers[0].bias.fill_(-1000.0)
    assert Oracle(model, X).answer().dead == {"layers.0": 0, "layers.2": 0}


def test_a_constant_before_zero_padding_may_stay_to_carry_the_others() -> None:
    model = network(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=1))
    with torch.no_grad():
        model.layers[0].weight[:4] = 0
    found = share(model, shrink(model, X).model, X)
    assert (found.dead, found.removed, found.excused) == (4, 3, {"carrier": 1})


def test_the_comparison_can_fail_both_ways() -> None:
    model = network(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1))
    with torch.no_grad():
        model.layers[0].weight[:2] = 0
    assert share(model, model, X).missed == {"layers.0": 2}
    narrow = network(nn.Conv2d(3, 1, 3), nn.Conv2d(1, 4, 1))
    assert share(model, narrow, X).beyond == {"layers.0": 3}


def compare(seed: int, steps: int) -> None:
    drawn = draw_network(random.Random(seed).choice, steps=steps, poison=False)
    found = share(drawn.model, shrink(drawn.model, drawn.example, prove_it=False).model, drawn.example)
    assert (found.missed, found.beyond) == ({}, {}), f"seed {seed}: {drawn.model}"


@pytest.mark.parametrize("seed", range(20))
def test_all_that_can_go_goes(seed: int) -> None:
    compare(seed, 8)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 2000, 50))
def test_all_that_can_go_goes_from_a_thousand_networks(start: int) -> None:
    for seed in range(start, start + 50):
        compare(seed, 4 + seed % 12)
