# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch import Tensor

from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup
from edgeshift.sparsity.patterns.channel import Channel


def group(name: str, channels: int, macs: float, *parameters: str, per: int = 1) -> ChannelGroup:
    rows = np.arange(channels * per, dtype=np.int64).reshape(channels, per)
    return ChannelGroup(name, dict.fromkeys(parameters, rows), macs)


def one(
    values: list[float], macs: float = 1.0, name: str = "a"
) -> tuple[dict[str, Tensor], tuple[ChannelGroup, ...]]:
    return {f"{name}.weight": torch.tensor(values).reshape(-1, 1)}, (
        group(name, len(values), macs, f"{name}.weight"),
    )


def stays(pattern: Channel, values: list[float], keep: float) -> list[bool]:
    scores, groups = one(values)
    return pattern.masks(scores, keep, groups)["a.weight"].flatten().tolist()


def two(macs_a: float, macs_b: float) -> tuple[dict[str, Tensor], tuple[ChannelGroup, ...]]:
    a, groups_a = one([4.0, 3.0, 2.0, 1.0], macs_a, "a")
    b, groups_b = one([3.5, 2.5, 1.5, 0.5], macs_b, "b")
    return a | b, groups_a + groups_b


def test_a_channel_goes_with_all_its_rows() -> None:
    scores = {"c.weight": torch.rand(3, 2, 3, 3), "n.weight": torch.ones(3), "n.bias": torch.zeros(3)}
    scores["c.weight"][1] = 0
    masks = Channel(cost="channels").masks(scores, 2 / 3, (group("c", 3, 1.0, *scores),))
    assert {n: m.flatten(1).all(1).tolist() if m.ndim > 1 else m.tolist() for n, m in masks.items()} == {
        "c.weight": [True, False, True],
        "n.weight": [True, False, True],
        "n.bias": [True, False, True],
    }
    assert not masks["c.weight"][1].any()


def test_a_channel_of_several_rows_goes_whole() -> None:
    scores = {"fc.weight": torch.tensor([[1.0], [9.0], [2.0], [2.0]])}
    masks = Channel(cost="channels").masks(scores, 0.5, (group("fc", 2, 1.0, "fc.weight", per=2),))
    assert masks["fc.weight"].flatten().tolist() == [True, True, False, False]


@pytest.mark.parametrize("keep", [0.25, 0.3, 0.5, 0.77, 1.0])
def test_the_count_of_channels_is_exact(keep: float) -> None:
    scores, groups = two(1.0, 1.0)
    masks = Channel(cost="channels").masks(scores, keep, groups)
    assert sum(int(m.sum()) for m in masks.values()) == round(keep * 8)


def test_the_count_of_channels_is_exact_when_all_scores_are_zero() -> None:
    assert stays(Channel(cost="channels"), [0.0] * 10, 0.3) == [True] * 3 + [False] * 7


def test_macs_are_spent_on_the_best_channels_until_the_next_does_not_fit() -> None:
    # a costs 3 a channel, b 1: all 16. Half is 8: a0 (3), b0 (1), a1 (3), b1 (1) fit exactly.
    scores, groups = two(3.0, 1.0)
    masks = Channel(normalise="size").masks(scores, 0.5, groups)
    assert {n: int(m.sum()) for n, m in masks.items()} == {"a.weight": 2, "b.weight": 2}


def test_macs_never_go_over_the_share() -> None:
    # 0.49 * 16 = 7.84 pays for a0, b0 and a1 (7), not for b1.
    scores, groups = two(3.0, 1.0)
    masks = Channel(normalise="size").masks(scores, 0.49, groups)
    assert {n: int(m.sum()) for n, m in masks.items()} == {"a.weight": 2, "b.weight": 1}


@pytest.mark.parametrize("channels", range(1, 11))
def test_equal_channels_divide_exactly(channels: int) -> None:
    assert sum(stays(Channel(), [1.0] * 10, channels / 10)) == channels


def test_every_group_keeps_a_channel() -> None:
    scores, groups = two(1.0, 1.0)
    scores["b.weight"] /= 1000
    masks = Channel(cost="channels").masks(scores, 0.25, groups)
    assert {n: int(m.sum()) for n, m in masks.items()} == {"a.weight": 1, "b.weight": 1}


def test_the_floor_is_a_share_of_each_group_rounded_up() -> None:
    scores, groups = two(1.0, 1.0)
    scores["b.weight"] /= 1000
    masks = Channel(cost="channels", floor=0.3).masks(scores, 0.625, groups)
    assert {n: int(m.sum()) for n, m in masks.items()} == {"a.weight": 3, "b.weight": 2}


@pytest.mark.parametrize("cost", ["macs", "channels"])
def test_less_than_the_floors_cannot_be_kept(cost: str) -> None:
    scores, groups = two(1.0, 1.0)
    with pytest.raises(BadValue, match=r"keep must be at least 0\.25, what the floors keep, got 0\.1"):
        Channel(cost=cost).masks(scores, 0.1, groups)


def score(pattern: Channel, **tensors: list[list[float]]) -> list[float]:
    scores = {n: torch.tensor(v).squeeze(-1) for n, v in tensors.items()}
    channels = len(next(iter(tensors.values())))
    return pattern.rank(scores, group("g", channels, 1.0, *scores)).tolist()


def test_l2_by_size_is_the_root_mean_square() -> None:
    # channel 0: sqrt((9 + 16) / 2)
    assert score(Channel(normalise="size"), w=[[3.0, 4.0], [0.0, 0.0]]) == [12.5**0.5, 0.0]


def test_mean_by_size_is_the_mean() -> None:
    assert score(Channel(reduce="mean", normalise="size"), w=[[3.0, 4.0], [0.0, 2.0]]) == [3.5, 1.0]


def test_without_normalising_it_is_the_norm() -> None:
    assert score(Channel(normalise="none"), w=[[3.0, 4.0], [0.0, 0.0]]) == [5.0, 0.0]


def test_by_group_the_scores_average_to_1() -> None:
    assert score(Channel(), w=[[3.0, 3.0], [1.0, 1.0]]) == [1.5, 0.5]


def test_each_parameter_counts_the_same_whatever_its_size() -> None:
    # mean squares 1 and 9: sqrt(5); the sum over elements would be ruled by the wide one
    assert score(Channel(normalise="size"), w=[[1.0] * 8, [1.0] * 8], v=[[3.0, 3.0], [3.0, 3.0]]) == [
        5**0.5,
        5**0.5,
    ]


def test_vectors_count_only_if_asked_for() -> None:
    assert score(Channel(normalise="size"), w=[[1.0, 1.0]], bias=[[7.0]]) == [1.0]
    assert score(Channel(normalise="size", vectors=True), w=[[1.0, 1.0]], bias=[[7.0]]) == [5.0]


def test_a_group_of_vectors_alone_is_scored_by_them() -> None:
    assert score(Channel(normalise="size"), bias=[[7.0], [2.0]]) == [7.0, 2.0]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"cost": "flops"}, "cost must be one of macs, channels, got 'flops'"),
        ({"reduce": "l1"}, "reduce must be one of l2, mean, got 'l1'"),
        ({"normalise": "max"}, "normalise must be one of size, group, none, got 'max'"),
        ({"floor": 1.5}, "floor must be 0 to 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(option: dict[str, object], says: str) -> None:
    with pytest.raises(BadValue, match=says):
        Channel(**option)  # type: ignore[arg-type]  # that is the point


def test_a_model_without_groups_is_refused() -> None:
    with pytest.raises(BadValue, match="channel groups must be at least one; this model has no channel"):
        Channel().covers(("a.weight",), ())
