# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Silent
from edgeshift.train import Level, Task, Training, run_levels
from edgeshift.train.methods.iterative_magnitude import IterativeMagnitude
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run, copied

LEVELS = (1.0, 0.5, 0.2)
STEPS = 20


@dataclass(frozen=True)
class Noting(Method):
    """Notes where each level of a method begins, and level 0 after a number of steps."""

    inner: IterativeMagnitude
    at: int

    card = IterativeMagnitude.card

    def begin(self, run: Run) -> None:
        self.inner.begin(run)
        BEGUN[run.index] = (run.step, copied(run.model.state_dict()))

    def after_step(self, run: Run) -> None:
        self.inner.after_step(run)
        if (run.index, run.step) == (0, self.at):
            BEGUN["at"] = (run.step, copied(run.model.state_dict()))


BEGUN: dict[object, tuple[int, Mapping[str, Tensor]]] = {}


def run(method: Method, task: Task, training: Training, folder: Path) -> list[Level]:
    return list(run_levels(method, task, training, LEVELS, folder, Silent()))


@pytest.mark.parametrize("steps", [0, 7, STEPS - 1])
def test_what_is_left_returns_to_the_rewind_step(
    task: Task, training: Training, tmp_path: Path, steps: int
) -> None:
    found = run(Noting(IterativeMagnitude(rewind_steps=steps), steps), task, training, tmp_path)
    early = BEGUN["at"][1] if steps else task.factory().state_dict()
    for index in (1, 2):
        step, state = BEGUN[index]
        assert step == steps
        for name, tensor in state.items():
            mask = found[index].masks.tensors.get(name)
            assert torch.equal(tensor, early[name] if mask is None else early[name] * torch.from_numpy(mask))


def test_without_rewinding_the_cut_weights_are_trained_on(
    task: Task, training: Training, tmp_path: Path
) -> None:
    found = run(Noting(IterativeMagnitude(rewind="none"), 0), task, training, tmp_path)
    for index in (1, 2):
        step, state = BEGUN[index]
        assert step == 0
        for name, mask in found[index].masks.tensors.items():
            assert torch.equal(state[name], found[index - 1].state[name] * torch.from_numpy(mask))


def test_the_smallest_weights_of_the_level_before_go(task: Task, training: Training, tmp_path: Path) -> None:
    found = run(IterativeMagnitude(), task, training, tmp_path)
    for before, after in ((found[0], found[1]), (found[1], found[2])):
        size = torch.cat([before.state[n].abs().flatten() for n in after.masks.tensors])
        kept = torch.cat([torch.from_numpy(m).flatten() for m in after.masks.tensors.values()])
        assert size[kept].min() >= size[~kept].max()


def test_a_rewound_level_trains_the_steps_that_are_left(
    task: Task, training: Training, tmp_path: Path
) -> None:
    found = run(IterativeMagnitude(rewind_steps=10), task, training, tmp_path)
    assert [len(level.curve) for level in found] == [2, 1, 1]
    assert [record["epoch"] for record in found[1].curve] == [1]


def test_only_the_last_level_holds_the_weights_to_return_to(
    task: Task, training: Training, tmp_path: Path
) -> None:
    run(IterativeMagnitude(rewind_steps=3), task, training, tmp_path)
    assert [p.name for p in tmp_path.glob("memory-*")] == ["memory-02.safetensors"]


@pytest.mark.parametrize("steps", [STEPS, STEPS + 5])
def test_a_rewind_step_past_the_end_is_refused(
    task: Task, training: Training, tmp_path: Path, steps: int
) -> None:
    with pytest.raises(BadValue, match=f"rewind_steps must be below the 20 steps of level 0, got {steps}"):
        run(IterativeMagnitude(rewind_steps=steps), task, training, tmp_path)


def test_a_level_that_is_not_trained_has_no_step_to_return_to(
    task: Task, training: Training, tmp_path: Path
) -> None:
    with pytest.raises(BadValue, match="rewind_steps must be below the 0 steps of level 0, got 3"):
        run(IterativeMagnitude(rewind_steps=3), task, replace(training, first_epochs=0), tmp_path)


def test_bad_options_are_refused() -> None:
    with pytest.raises(BadValue, match="rewind must be one of weights, none, got 'step'"):
        IterativeMagnitude(rewind="step")
    with pytest.raises(BadValue, match='rewind_steps must be 0 or more, and 0 with rewind "none", got 4'):
        IterativeMagnitude(rewind="none", rewind_steps=4)
