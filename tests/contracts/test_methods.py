# SPDX-License-Identifier: Apache-2.0
"""What all methods promise, on real digits and a network of 2 k weights."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.progress import Silent
from edgeshift.core.values import ChannelGroup
from edgeshift.data import Split
from edgeshift.train import METHODS, Level, Task, Training, run_levels
from edgeshift.train.methods.shape import Method, TrainsOnce
from edgeshift.train.run import Run

NAMES = METHODS.names()
LEVELS = (1.0, 0.61, 0.3)
TRAINING = Training(epochs=2, batch_size=100, lr=0.2, warmup_epochs=0.5, weight_decay=0.01, threads=1)
BY_COUNT = {"pattern": "channel", "pattern_options": {"cost": "channels"}}
BY_MACS = {"pattern": "channel"}


def having(*options: str) -> list[str]:
    """Methods with all of these options."""
    return [n for n in NAMES if set(options) <= {f.name for f in fields(METHODS.find(n))}]


# A criterion and any pattern decide what these remove.
CUTTING = having("criterion", "pattern", "pattern_options")
# Levels of the others are not cut from one another.
NESTED = [*CUTTING, "all_in_one", "network_slimming", "soft_masking"]
# Options under which a method removes single weights, and keeps a share of them to the weight.
SINGLE: dict[str, dict[str, Any]] = {
    **{n: {"pattern": "unstructured"} for n in having("pattern")},
    "grow_and_prune": {},
}
# Widths are multiples of 8, and these layers have 10 and 20 channels: two levels may come out alike.
IN_BLOCKS = ("soft_masking",)
# All training happens in level 0, whatever the weights are.
ONCE = ("all_in_one", "supernet")
# Methods that must be told the levels, or that narrow layers are to be cut finely.
OWN: dict[str, dict[str, Any]] = {"all_in_one": {"ratios": LEVELS[1:], "multiple": 1}}


def made(name: str, **options: Any) -> Method:
    """The method, with what it needs for the levels and layers here."""
    found: Method = METHODS.make(name, **{**OWN.get(name, {}), **options})
    return found


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 10, 3, padding=1),
            nn.BatchNorm2d(10),
            nn.ReLU(),
            nn.Conv2d(10, 20, 3, padding=1, bias=False),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(20, 10),
        )


def group(channels: int, macs: float, reader: str, *names: str) -> ChannelGroup:
    rows = np.arange(channels, dtype=np.int64).reshape(channels, 1)
    return ChannelGroup(names[0], dict.fromkeys(names, rows), macs, {reader: rows})


GROUPS = (
    group(10, 12096.0, "3.weight", "0.weight", "0.bias", "1.weight", "1.bias"),
    group(20, 5770.0, "8.weight", "3.weight", "4.weight", "4.bias"),
)
MASKED = 10 * 9 + 20 * 90 + 10 * 20


@pytest.fixture(scope="module")
def task() -> Task:
    images, labels = load_digits(return_X_y=True)
    pixels, labels = (images.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8), labels.astype(np.int64)
    train, validation = Split(pixels[:500], labels[:500]), Split(pixels[500:700], labels[500:700])
    return Task(network, train, validation, mean=(0.3,), std=(0.35,), groups=GROUPS)


# Levels by what decides them: many facts are looked up on one run.
KNOWN: dict[tuple[object, ...], list[Level]] = {}


def levels(task: Task, folder: Path, method: Method, *, fresh: bool = False, **training: Any) -> list[Level]:
    options = Training(**{**vars(TRAINING), **training})
    key = (method.card.name, repr(method), repr(options), task.factory)
    if fresh or key not in KNOWN:
        KNOWN[key] = list(run_levels(method, task, options, LEVELS, folder, Silent()))
    return KNOWN[key]


@pytest.mark.parametrize("name", CUTTING)
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_any_criterion_decides(task: Task, tmp_path: Path, name: str, criterion: str) -> None:
    found = levels(task, tmp_path, made(name, criterion=criterion, pattern="unstructured"))
    assert [level.masks.kept for level in found] == [round(kept * MASKED) for kept in LEVELS]


@pytest.mark.parametrize("name", SINGLE)
def test_kept_weights_are_counted_exactly(task: Task, tmp_path: Path, name: str) -> None:
    found = levels(task, tmp_path, made(name, **SINGLE[name]))
    assert [level.masks.total for level in found] == [MASKED] * 3
    assert [level.masks.kept for level in found] == [round(kept * MASKED) for kept in LEVELS]


@pytest.mark.parametrize("name", CUTTING)
def test_kept_channels_are_counted_exactly(task: Task, tmp_path: Path, name: str) -> None:
    found = levels(task, tmp_path, made(name, **BY_COUNT))
    counts = [sum(int(level.masks.tensors[n].sum()) for n in ("1.bias", "4.bias")) for level in found]
    assert counts == [30, round(0.61 * 30), round(0.3 * 30)]


@pytest.mark.parametrize("name", CUTTING)
def test_kept_macs_reach_the_share_to_within_a_channel(task: Task, tmp_path: Path, name: str) -> None:
    found = levels(task, tmp_path, made(name, **BY_MACS))
    total = sum(g.channels * g.macs for g in GROUPS)
    for level in found:
        macs = sum(
            g.macs * int(level.masks.tensors[b].sum())
            for g, b in zip(GROUPS, ("1.bias", "4.bias"), strict=True)
        )
        assert macs <= level.kept * total < macs + max(g.macs for g in GROUPS) + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_removed_weights_are_exactly_zero(task: Task, tmp_path: Path, name: str) -> None:
    for level in levels(task, tmp_path, made(name)):
        for parameter, mask in level.masks.tensors.items():
            assert not level.state[parameter].numpy()[~mask].any()


@pytest.mark.parametrize("name", CUTTING)
@pytest.mark.parametrize("options", [BY_COUNT, BY_MACS], ids=["channels", "macs"])
def test_removed_channels_are_exactly_zero(
    task: Task, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    for level in levels(task, tmp_path, made(name, **options)):
        for parameter, mask in level.masks.tensors.items():
            assert not level.state[parameter].numpy()[~mask].any()


@pytest.mark.parametrize("name", CUTTING)
def test_a_removed_channel_is_constant_zero(task: Task, tmp_path: Path, name: str) -> None:
    level = levels(task, tmp_path, made(name, **BY_COUNT))[2]
    model = network().eval()
    model.load_state_dict(level.state)
    gone = torch.from_numpy(~level.masks.tensors["4.bias"])
    assert gone.any()
    assert not model[:6](torch.randn(5, 1, 8, 8))[:, gone].any()


@pytest.mark.parametrize("name", NAMES)
def test_kept_weights_are_trained(task: Task, tmp_path: Path, name: str) -> None:
    level = levels(task, tmp_path, made(name))[2]
    fresh = network().state_dict()
    for parameter, mask in level.masks.tensors.items():
        moved = (level.state[parameter] != fresh[parameter]).numpy()
        assert moved[mask].mean() > 0.99  # a weight may come back to its first value by chance


@pytest.mark.parametrize("name", NAMES)
def test_momentum_does_not_revive_the_removed(task: Task, tmp_path: Path, name: str) -> None:
    method, seen = made(name), []

    class Watching(type(method)):  # type: ignore[misc]  # the class is found at run time
        """Looks at every step of the method it wraps."""

        def after_step(self, run: Run) -> None:
            super().after_step(run)
            for parameter, mask in run.masking.tensors.items():
                weight = run.masking.parameters[parameter]
                momentum = run.optimizer.state[weight].get("momentum_buffer")
                moving = momentum is not None and momentum[~mask].any()
                seen.append(bool(weight[~mask].any() or moving))

    levels(task, tmp_path, Watching(**OWN.get(name, {})), fresh=True)
    # levels, steps, masked weights; the others mask by their own rules
    if name in CUTTING and name not in ONCE:
        assert len(seen) == 3 * 10 * 3
    else:
        assert len(seen) >= 10
    assert not any(seen)


@pytest.mark.parametrize("name", NESTED)
def test_each_level_keeps_among_what_the_level_before_kept(task: Task, tmp_path: Path, name: str) -> None:
    _, more, fewer = levels(task, tmp_path, made(name))
    assert all((more.masks.tensors[n] | ~mask).all() for n, mask in fewer.masks.tensors.items())


@pytest.mark.parametrize("name", CUTTING)
def test_each_level_keeps_channels_of_the_level_before(task: Task, tmp_path: Path, name: str) -> None:
    _, more, fewer = levels(task, tmp_path, made(name, **BY_COUNT))
    assert all((more.masks.tensors[n] | ~mask).all() for n, mask in fewer.masks.tensors.items())


@pytest.mark.parametrize("name", NAMES)
def test_seeds_decide_the_bytes(task: Task, tmp_path: Path, name: str) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        levels(task, tmp_path / folder, made(name), fresh=True, seed=seed)
    a, b, c = (
        [(tmp_path / folder / f"level-0{k}.safetensors").read_bytes() for k in range(3)] for folder in "abc"
    )
    assert a == b
    assert all(x != y for x, y in zip(a, c, strict=True))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ONCE])
def test_a_trained_network_is_cut_without_training_level_0(task: Task, tmp_path: Path, name: str) -> None:
    found = levels(task, tmp_path, made(name), first_epochs=0)
    assert all(torch.equal(t, found[0].state[n]) for n, t in network().state_dict().items())
    assert found[0].masks.sparsity == 0
    if name in CUTTING:
        assert [level.masks.kept for level in found] == [round(kept * MASKED) for kept in LEVELS]
    elif name in IN_BLOCKS:
        assert 0 < found[1].masks.sparsity <= found[2].masks.sparsity
    else:
        assert 0 < found[1].masks.sparsity < found[2].masks.sparsity


@pytest.mark.parametrize("name", NAMES)
def test_what_is_excluded_stays_whole(task: Task, tmp_path: Path, name: str) -> None:
    level = levels(task, tmp_path, made(name, exclude=("8.*",)))[2]
    assert "8.weight" not in level.masks.tensors
    assert level.masks.sparsity > 0
    assert level.state["8.weight"].all()


@pytest.mark.parametrize("name", NAMES)
def test_levels_begin_dense(task: Task, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadValue, match=r"first level must be 1.0, the dense network .*, got 0\.5"):
        list(run_levels(made(name), task, TRAINING, (0.5, 0.2), tmp_path, Silent()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", having("criterion"))
def test_names_are_checked_before_anything_is_computed(task: Task, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownName, match="no criterion named 'magnitud'; did you mean 'magnitude'"):
        list(run_levels(made(name, criterion="magnitud"), task, TRAINING, LEVELS, tmp_path, Silent()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_final_and_holds_options_only(name: str) -> None:
    method = made(name)
    assert type(method).__mro__[1] in (Method, TrainsOnce)
    with pytest.raises(AttributeError, match="cannot assign to field"):
        setattr(method, fields(method)[0].name, "random")


@pytest.mark.parametrize("name", NAMES)
def test_the_log_counts_what_training_costs(task: Task, tmp_path: Path, name: str) -> None:
    found = levels(task, tmp_path, made(name))
    spent = [sum(record["training_macs"] for record in level.curve) for level in found]
    dense = 3 * (10 * 9 * 64 + 20 * 90 * 64 + 10 * 20) * 500 * 2  # passes, layers, images, epochs
    if name in ONCE:
        assert spent[0] > dense
        assert spent[1:] == [0, 0]
        return
    assert spent[0] == pytest.approx(dense)
    assert 0 < spent[2] < spent[0]


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_from_weights_that_are_trained(task: Task, tmp_path: Path, name: str) -> None:
    trained = levels(task, tmp_path / "first", METHODS.make("one_shot"), epochs=4)[0]

    def factory() -> nn.Module:
        model = network()
        model.load_state_dict(trained.state)
        return model

    found = levels(replace(task, factory=factory), tmp_path / "second", made(name), first_epochs=0)
    assert found[0].validation_accuracy >= trained.validation_accuracy - 0.2
