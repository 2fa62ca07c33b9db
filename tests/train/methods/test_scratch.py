# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeshift.core.errors import BadValue
from edgeshift.train import Task, Training
from edgeshift.train.methods.scratch import Scratch, redraw_
from tests.train.methods.watch import watched

CHANNELS = {"pattern": "channel"}


def test_masks_are_the_found_ones_and_weights_are_not(task: Task, training: Training, tmp_path: Path) -> None:
    first, _ = watched("one_shot", lambda run: None, task, training, (1.0, 0.5), tmp_path / "a", **CHANNELS)
    still = replace(training, lr=1e-30, weight_decay=0.0)
    twin, _ = watched(
        "scratch", lambda run: None, task, still, (1.0, 0.5), tmp_path / "b", found=str(tmp_path / "a")
    )
    for name, mask in first[1].masks.tensors.items():
        assert np.array_equal(mask, twin[1].masks.tensors[name])
    weight = twin[1].state["3.weight"]
    assert not torch.isclose(weight[weight != 0], first[1].state["3.weight"][weight != 0]).any()


def test_a_budget_of_macs_gives_more_epochs(task: Task, training: Training, tmp_path: Path) -> None:
    found, seen = watched(
        "scratch",
        lambda run: run.macs.dense / run.live_macs(),
        task,
        training,
        (1.0, 0.5),
        tmp_path,
        **CHANNELS,
        budget="macs",
    )
    assert len(found[1].curve) == int(np.ceil(2 * seen[1][0]))


def test_a_folder_without_levels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="found must be a folder of levels that another build left"):
        Scratch(found=str(tmp_path)).check((1.0, 0.5))


def test_a_parameter_that_cannot_be_drawn_anew_is_refused_by_name() -> None:
    class Scaled(nn.Module):
        """Has a parameter of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(
        BadValue, match=r"model must be one whose modules all have reset_parameters, got '0\.scale'"
    ):
        redraw_(nn.Sequential(Scaled()), 0)
