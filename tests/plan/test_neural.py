# SPDX-License-Identifier: Apache-2.0
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgeshift.core.errors import BadValue, BadWeights
from edgeshift.plan.expert import Elites, improve, library
from edgeshift.plan.net import Net
from edgeshift.plan.neural import Family, Proposer, device_front, lattice
from edgeshift.plan.spaces.layers import Layers
from edgeshift.plan.spaces.ofa import Ofa
from edgeshift.plan.teach import Teaching, spread_out, teach

SPACE = Layers(("a", "b", "c"), (("none", "half", "all"),))
SMALL = Teaching(
    steps=60, batch=32, hidden=16, heads=2, levels=6, samples=200, epochs=20, experts=4, expert_rounds=8,
    expert_children=20, library=12,
)  # fmt: skip


def family() -> Family:
    """Gain = options chosen; on device w a layer costs its option times w."""

    def cost(designs: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
        return (designs * descriptors).sum(1) - 3.0

    rows = np.random.default_rng(0).uniform(0.5, 1.5, (5, 3))
    return Family(SPACE, lambda designs: designs.sum(1).astype(float), (cost,), rows)


@cache
def taught(seed: int = 0) -> Proposer:
    """One training for several tests."""
    return teach(family(), SMALL, seed)


def hand(heads: int = 2) -> Proposer:
    """Answers with the bias alone: head 0 names (2, 0, 0), head 1 names (0, 1, 0)."""
    bias = np.array([0, 0, 9, 9, 0, 0, 9, 0, 0, 9, 0, 0, 0, 9, 0, 9, 0, 0], np.float32)
    net = Net((np.zeros((4, 18), np.float32),), (bias,))
    return Proposer(net, SPACE.sizes, heads, np.array([[0.0], [1.0]], np.float32)).check()


def test_each_head_names_the_option_of_its_largest_logit() -> None:
    assert hand().propose(np.zeros(3)).tolist() == [[0, 1, 0], [2, 0, 0]]


def test_the_library_is_scored_beside_what_the_network_names() -> None:
    proposer = Proposer(hand().net, SPACE.sizes, 2, hand().lattice, np.array([[1, 1, 1]]), np.array([3.0]))
    front = device_front(proposer.check(), family(), np.ones(3))
    assert front.designs.tolist() == [[1, 1, 1], [0, 1, 0], [2, 0, 0]]
    assert (front.gains.tolist(), front.costs.tolist()) == ([3, 1, 2], [[0, -2, -1]])
    assert [front.pick(np.array([t])) for t in (-3.0, -2.0, -1.0, 0.5)] == [None, 1, 2, 0]


def test_a_wider_limit_never_gains_less() -> None:
    front = device_front(taught(), family(), np.array([0.7, 1.4, 0.9]))
    gains = [front.gains[p] for t in np.linspace(-3, 4, 60) if (p := front.pick(np.array([t]))) is not None]
    assert (np.diff(gains) >= 0).all()
    assert gains[-1] == 6  # with the widest limit everything


def test_a_trained_optimizer_is_near_the_optimum_of_a_device_it_has_not_seen() -> None:
    made, row = family(), np.array([0.6, 1.5, 1.0])
    front, every = device_front(taught(), made, row), SPACE.every()
    gains, costs = made.gain(every), made.costs[0](every, np.broadcast_to(row, every.shape))
    lost = []
    for limit in np.linspace(-2.5, 2.5, 11):
        place = front.pick(np.array([limit]))
        assert place is not None
        lost.append(gains[costs <= limit].max() - front.gains[place])
    assert np.mean(lost) <= 0.5  # of 6; a design drawn at random loses 2


def test_equal_seeds_train_equal_optimizers(tmp_path: Path) -> None:
    taught().save(tmp_path / "a")
    teach(family(), SMALL).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_optimizer_is_read_back_as_it_was(tmp_path: Path) -> None:
    proposer = Proposer(hand().net, SPACE.sizes, 2, hand().lattice, np.array([[1, 1, 1]]), np.array([3.0]))
    proposer.save(tmp_path / "p")
    found = Proposer.load(tmp_path / "p")
    assert found.propose(np.zeros(3)).tolist() == proposer.propose(np.zeros(3)).tolist()
    assert (found.library.tolist(), found.sizes) == ([[1, 1, 1]], SPACE.sizes)


def test_another_file_is_no_optimizer(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"nothing")
    with pytest.raises(BadWeights, match="must be a trained optimizer, got"):
        Proposer.load(tmp_path / "p")


def test_a_network_of_other_sizes_is_refused() -> None:
    with pytest.raises(BadValue, match="outputs of the network must be 27, got 18"):
        hand(heads=3)


def test_the_lattice_tightens_all_limits_and_each_alone() -> None:
    found = lattice(np.zeros(2), np.ones(2), 3)
    assert found.tolist() == [[0, 0], [0, 1], [0.5, 0.5], [0.5, 1], [1, 0], [1, 0.5], [1, 1]]


def test_elites_are_the_best_under_each_limit() -> None:
    elites = Elites.none(np.ones(3), np.array([[-2.0], [0.0], [3.0]]), SPACE)
    elites.update(family(), np.array([[0, 1, 0], [1, 1, 1], [0, 0, 2]]))
    assert elites.designs.tolist() == [[0, 1, 0], [1, 1, 1], [1, 1, 1]]
    improve(elites, family(), 30, 20, np.random.default_rng(0))
    assert elites.gains.tolist() == [1, 3, 6]


def test_the_library_serves_the_most_limits_with_the_fewest_designs() -> None:
    elites = Elites.none(np.ones(3), np.array([[-2.0], [0.0], [3.0]]), SPACE)
    elites.update(family(), np.array([[0, 1, 0], [1, 1, 1], [2, 2, 2]]))
    designs, gains = library([elites], family(), 2)
    # (1, 1, 1) lifts two limits from the least gain of 1 to 3, (2, 2, 2) one from 1 to 6: 4 against 5.
    assert (designs.tolist(), gains.tolist()) == ([[2, 2, 2], [1, 1, 1]], [6, 3])


def test_columns_of_blocks_that_are_left_out_are_switched_off() -> None:
    space = Ofa()
    designs = space.sample(50, np.random.default_rng(0))
    columns = space.one_hot(designs)
    for design, row in zip(designs, columns, strict=True):
        for block in range(20):
            there = block % 4 < design[40 + block // 4] + 2
            assert row[3 * block : 3 * block + 3].sum() == there
            assert row[60 + 3 * block : 63 + 3 * block].sum() == there
    assert (columns[:, 120:].sum(1) == 6).all()


def test_extremes_are_among_the_designs_that_are_learnt_from() -> None:
    means = spread_out(Ofa(), 4000, np.random.default_rng(0))[:, 40:45].mean(1)
    assert means.min() == 0
    assert means.max() == 2
