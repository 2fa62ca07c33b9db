# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.train import Task, Training
from edgeshift.train.methods.network_slimming import NetworkSlimming
from tests.train.methods.watch import watched


def test_the_penalty_adds_the_sign_of_every_scale(task: Task, training: Training, tmp_path: Path) -> None:
    # One step of plain SGD without weight decay: the difference is lr * l1 * sign, sign = 1 at the start.
    once = replace(training, epochs=1, batch_size=600, momentum=0.0, nesterov=False, weight_decay=0.0, lr=0.1)
    once = replace(once, warmup_epochs=0.0)
    found = [
        watched("network_slimming", lambda run: None, task, once, (1.0,), tmp_path / str(l1), l1=l1)[0][
            0
        ].state
        for l1 in (0.0, 0.01)
    ]
    assert torch.allclose(found[0]["1.weight"] - found[1]["1.weight"], torch.tensor(0.001), atol=1e-6)
    assert torch.equal(found[0]["3.weight"], found[1]["3.weight"])


def test_the_smallest_scales_of_all_layers_go(task: Task, training: Training, tmp_path: Path) -> None:
    found, _ = watched(
        "network_slimming", lambda run: None, task, training, (1.0, 0.5), tmp_path, l1=0.01, floor=0.0
    )
    before, masks = found[0].state, found[1].masks.tensors
    scales = torch.cat([before["1.weight"], before["4.weight"]]).abs()
    kept = torch.cat([torch.from_numpy(masks["1.weight"]), torch.from_numpy(masks["4.weight"])])
    assert int(kept.sum()) == 12
    assert scales[kept].min() >= scales[~kept].max()


def test_the_floor_holds(task: Task, training: Training, tmp_path: Path) -> None:
    found, _ = watched("network_slimming", lambda run: None, task, training, (1.0, 0.3), tmp_path, floor=0.25)
    assert found[1].masks.tensors["1.bias"].sum() >= 2
    assert found[1].masks.tensors["4.bias"].sum() >= 4


def test_bad_options_are_refused() -> None:
    with pytest.raises(BadValue, match="l1 must be 0 or more, got -1"):
        NetworkSlimming(l1=-1)
    with pytest.raises(BadValue, match="pull must be 0 to 1, got 2"):
        NetworkSlimming(pull=2)
