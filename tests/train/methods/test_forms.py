# SPDX-License-Identifier: Apache-2.0
"""Methods that train several forms of one network at once compute the dead channels of none, and lose nothing by it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeshift.core.progress import Silent
from edgeshift.train import METHODS, Level, Task, Training, run_levels
from edgeshift.train.narrow import Narrow

# all_in_one makes one small network for each ratio, supernet for each form drawn from each of its pools.
MADE = {"all_in_one": 2, "supernet": 4}
CASES: dict[str, dict[str, Any]] = {
    "all_in_one": {"ratios": (0.6, 0.3), "multiple": 1, "settle": 0.3, "every": 5},
    "supernet": {"least": 0.3, "ramp": 0.0, "every": 10},
}


@pytest.mark.parametrize("name", CASES)
def test_forms_come_out_as_if_dead_channels_had_been_computed(
    name: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calm() -> torch.nn.Module:
        model = task.factory()
        model[8].p = 0.0  # type: ignore[index, union-attr]  # dropout draws for the sizes at hand
        return model

    quiet = Task(calm, task.train, task.validation, task.mean, task.std, task.groups)
    training = Training(epochs=2, batch_size=64, lr=0.005, warmup_epochs=0.5, bf16="off", threads=1)
    used, of = [], Narrow.of.__func__  # type: ignore[attr-defined]  # of the class method

    def levels(folder: str) -> list[Level]:
        method = METHODS.make(name, **CASES[name])
        return list(run_levels(method, quiet, training, (1.0, 0.6, 0.3), tmp_path / folder, Silent()))

    monkeypatch.setattr(Narrow, "of", classmethod(lambda *a: used.append(of(*a)) or used[-1]))
    small = levels("small")
    made = sum(n is not None for n in used)
    assert made == MADE[name] if name == "all_in_one" else made >= MADE[name]
    monkeypatch.setattr(Narrow, "of", classmethod(lambda *a: None))
    for one, other in zip(small, levels("whole"), strict=True):
        for tensor_name, tensor in one.state.items():
            if "running" not in tensor_name:  # nobody reads what a dead channel measures
                torch.testing.assert_close(
                    tensor, other.state[tensor_name], rtol=2e-2, atol=2e-3, msg=tensor_name
                )
