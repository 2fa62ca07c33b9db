# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Silent
from edgeshift.core.values import ChannelGroup
from edgeshift.train import Level, Task, Training, run_levels
from edgeshift.train.channels import Prices
from edgeshift.train.macs import Macs
from edgeshift.train.methods.all_in_one import AllInOne, norm_tensors, silenced, widths_within
from edgeshift.train.methods.one_shot import OneShot

RATIOS = (0.6, 0.3)
OPTIONS = {"ratios": RATIOS, "multiple": 1, "every": 3}


@pytest.fixture(scope="module")
def levels(task: Task, tmp_path_factory: pytest.TempPathFactory) -> list[Level]:
    training = Training(epochs=3, batch_size=64, lr=0.2, warmup_epochs=0.5, bf16="off", threads=1)
    method = AllInOne(**OPTIONS)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("all_in_one")
    return list(run_levels(method, task, training, (1.0, *RATIOS), folder, Silent()))


def own(name: str, task: Task) -> bool:
    """Whether a tensor belongs to one ratio alone."""
    return name in norm_tensors(task.factory()) or name.endswith("num_batches_tracked")


def test_ratios_share_every_weight_that_they_keep(levels: list[Level], task: Task) -> None:
    for level in levels[1:]:
        for name, tensor in level.state.items():
            if not own(name, task):
                mask = torch.from_numpy(level.masks.tensors.get(name, np.ones(tensor.shape, np.bool_)))
                assert torch.equal(tensor[mask], levels[0].state[name][mask]), name
        assert not torch.equal(level.state["1.weight"], levels[0].state["1.weight"])  # norms are its own


def test_smaller_ratios_lie_inside_larger_ones_and_in_their_cost(levels: list[Level]) -> None:
    for larger, smaller in pairwise(levels):
        for name, mask in smaller.masks.tensors.items():
            assert not (mask & ~larger.masks.tensors[name]).any(), name
    for level, ratio in zip(levels[1:], RATIOS, strict=True):
        first, second = (
            int(level.masks.tensors[n].any(axis=(1, 2, 3)).sum()) for n in ("0.weight", "3.weight")
        )
        # Multiply-accumulates of the network in conftest: 64 places x 9 x in x out, then 4 x out x 10.
        cost = 64 * 9 * (first + first * second) + 40 * second
        assert cost <= ratio * (64 * 9 * (8 + 128) + 640)


def test_the_smallest_ratio_is_worth_more_than_a_cut_that_nobody_trained_for(
    levels: list[Level], task: Task, tmp_path: Path
) -> None:
    training = Training(
        epochs=0,
        first_epochs=3,
        batch_size=64,
        lr=0.2,
        warmup_epochs=0.5,
        bf16="off",
        threads=1,
        recalibrate=10,
    )
    cut = OneShot(pattern="channel", pattern_options={"cost": "macs"})
    untrained = list(run_levels(cut, task, training, (1.0, *RATIOS), tmp_path, Silent()))
    assert levels[-1].validation_accuracy > untrained[-1].validation_accuracy + 0.1


def test_norms_alone_silence_a_group_where_each_layer_has_one() -> None:
    rows = np.arange(4)[:, None]
    norms = {"bn.weight": torch.ones(4), "bn.bias": torch.ones(4)}
    with_norm = ChannelGroup("a", {"conv.weight": rows, "bn.weight": rows, "bn.bias": rows}, 0.0)
    assert silenced(with_norm, norms) == ("bn.weight", "bn.bias")
    without = ChannelGroup("a", {"conv.weight": rows, "other.weight": rows, "bn.weight": rows}, 0.0)
    assert silenced(without, norms) == ("conv.weight", "other.weight", "bn.weight")


def test_widths_of_a_smaller_ratio_are_nowhere_larger() -> None:
    rows = np.arange(16)[:, None]
    a = ChannelGroup("a", {"a": rows}, 0.0, {"b": rows})
    b = ChannelGroup("b", {"b": np.arange(32)[:, None]}, 0.0)
    prices = Prices(Macs({"a": 160.0, "b": 512.0}, {"a": (16, 1), "b": (32, 16)}, (a, b)))
    widths = [widths_within(prices, (a, b), r / 20, 4, 0.0) for r in range(20, 1, -1)]
    assert widths[0] == {"a": 16, "b": 32}
    for larger, smaller in pairwise(widths):
        assert all(smaller[n] <= larger[n] for n in "ab")
    # The highest share goes first: a and b in turns, the first of equals first, 4 channels each time.
    assert widths_within(prices, (a, b), 600 / 672, 4, 0.0) == {"a": 12, "b": 32}
    with pytest.raises(BadValue, match="ratio"):
        widths_within(prices, (a, b), 0.01, 4, 0.0)


def test_a_level_that_was_not_trained_for_is_refused(task: Task, training: Training, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"one of the ratios trained for: 0\.6, 0\.3"):
        list(run_levels(AllInOne(**OPTIONS), task, training, (1.0, 0.5), tmp_path, Silent()))  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="ratios"):
        AllInOne(ratios=(0.5, 0.6))


def after_one_step(task: Task, folder: Path, **options: float) -> list[Level]:
    """Levels after one step of plain SGD."""
    once = Training(
        epochs=1, batch_size=10_000, lr=0.01, weight_decay=0, warmup_epochs=0, bf16="off", threads=1
    )
    method = AllInOne(ratios=RATIOS, multiple=1, settle=0, **options)  # type: ignore[arg-type]
    return list(run_levels(method, task, once, (1.0, *RATIOS), folder, Silent()))


def step_of_norm(level: Level, task: Task) -> torch.Tensor:
    """How far the scales of the first norm moved, those that the level keeps."""
    kept = torch.from_numpy(level.masks.tensors["1.weight"])
    return (level.state["1.weight"] - task.factory().state_dict()["1.weight"])[kept]


def test_norms_move_at_their_own_rate_and_shared_weights_do_not(task: Task, tmp_path: Path) -> None:
    one = after_one_step(task, tmp_path / "one")
    for once, thrice in zip(one, after_one_step(task, tmp_path / "three", own_rate=3.0), strict=True):
        assert torch.equal(once.state["0.weight"], thrice.state["0.weight"])
        step = step_of_norm(once, task)
        assert step.abs().max() > 0
        torch.testing.assert_close(step_of_norm(thrice, task), 3 * step)


def test_the_weight_of_the_whole_moves_its_own_norms_and_the_shared_weights(
    task: Task, tmp_path: Path
) -> None:
    one, two = after_one_step(task, tmp_path / "one"), after_one_step(task, tmp_path / "two", whole=2.0)
    assert not torch.equal(one[0].state["0.weight"], two[0].state["0.weight"])
    torch.testing.assert_close(step_of_norm(two[0], task), 2 * step_of_norm(one[0], task))
    for once, twice in zip(one[1:], two[1:], strict=True):
        torch.testing.assert_close(step_of_norm(twice, task), step_of_norm(once, task))
