# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.train import Task, Training
from edgeshift.train.methods.supernet import Supernet
from tests.train.methods.watch import watched


def test_all_levels_share_one_set_of_weights(task: Task, training: Training, tmp_path: Path) -> None:
    found, _ = watched("supernet", lambda run: None, task, training, (1.0, 0.6, 0.3), tmp_path, every=5)
    for level in found[1:]:
        assert level.curve == ()
        for name, mask in level.masks.tensors.items():
            assert torch.equal(level.state[name], found[0].state[name] * torch.from_numpy(mask))


def test_each_level_has_norms_of_its_own(task: Task, training: Training, tmp_path: Path) -> None:
    found, _ = watched("supernet", lambda run: None, task, training, (1.0, 0.6, 0.3), tmp_path)
    means = [level.state["4.running_mean"] for level in found]
    assert not torch.equal(means[0], means[1])
    assert not torch.equal(means[1], means[2])


def test_the_sparsest_form_falls_to_the_least(task: Task, training: Training, tmp_path: Path) -> None:
    def sparsest(run: object) -> float:
        forms = [m for n, m in run.memory.items() if n == "ladder/0/4.bias"]  # type: ignore[attr-defined]
        return float(forms[0].float().mean())

    options = {"pattern_options": {"cost": "channels"}, "every": 1, "least": 0.25}
    _, seen = watched("supernet", sparsest, task, training, (1.0, 0.5), tmp_path, **options)
    assert seen[0][0] == 1
    assert seen[0][-1] < 0.75


def test_it_trains_weights_that_are_trained_already(task: Task, training: Training, tmp_path: Path) -> None:
    found, _ = watched(
        "supernet", lambda run: None, task, replace(training, first_epochs=0), (1.0, 0.5), tmp_path
    )
    assert len(found[0].curve) == 2


def test_a_level_below_the_least_is_refused() -> None:
    with pytest.raises(BadValue, match=r"last level must be at least 0\.5, .*, got 0\.2"):
        Supernet(least=0.5).check((1.0, 0.2))
