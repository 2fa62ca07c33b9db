# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import torch

from edgeshift.core.progress import Silent
from edgeshift.train import Task, Training, run_levels
from edgeshift.train.methods.one_shot import OneShot


def test_each_level_is_cut_from_level_0(task: Task, training: Training, tmp_path: Path) -> None:
    untuned = replace(training, first_epochs=2, epochs=0)
    dense, half, fifth = run_levels(OneShot(), task, untuned, (1.0, 0.5, 0.2), tmp_path, Silent())
    for level in (half, fifth):
        assert level.curve == ()
        for name, tensor in level.state.items():
            mask = level.masks.tensors.get(name)
            whole = dense.state[name]
            assert torch.equal(tensor, whole if mask is None else whole * torch.from_numpy(mask))


def test_a_level_does_not_depend_on_the_levels_between(
    task: Task, training: Training, tmp_path: Path
) -> None:
    short = list(run_levels(OneShot(), task, training, (1.0, 0.2), tmp_path / "short", Silent()))
    long = list(run_levels(OneShot(), task, training, (1.0, 0.5, 0.2), tmp_path / "long", Silent()))
    assert all((short[1].masks.tensors[n] == m).all() for n, m in long[2].masks.tensors.items())
