# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.progress import Silent
from edgeshift.train import Task, Training, run_levels
from edgeshift.train.methods.gradual_magnitude import GradualMagnitude
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run

TOTAL = 8 * 9 + 16 * 72 + 640


@dataclass(frozen=True)
class Counting(Method):
    """Notes how many weights are kept after each step."""

    inner: GradualMagnitude

    card = GradualMagnitude.card

    def begin(self, run: Run) -> None:
        self.inner.begin(run)

    def after_step(self, run: Run) -> None:
        self.inner.after_step(run)
        NOTED.setdefault(run.index, []).append(run.masking.masks().kept)


NOTED: dict[int, list[int]] = {}


def kept(method: GradualMagnitude, task: Task, training: Training, folder: Path) -> dict[int, list[int]]:
    NOTED.clear()
    list(run_levels(Counting(method), task, training, (1.0, 0.5, 0.2), folder, Silent()))
    return NOTED


def test_it_follows_the_cubic_schedule_from_level_to_level(
    task: Task, training: Training, tmp_path: Path
) -> None:
    noted = kept(GradualMagnitude(ramp=0.5, cuts=10), task, training, tmp_path)
    assert noted[0] == [TOTAL] * 20
    for index, start, end in ((1, 1.0, 0.5), (2, 0.5, 0.2)):
        # 20 steps, a cut at each of the first 10
        wanted = [end + (start - end) * (1 - t / 10) ** 3 for t in range(1, 11)] + [end] * 10
        assert noted[index] == pytest.approx([w * TOTAL for w in wanted], abs=0.51)  # whole weights
        assert noted[index][-1] == round(end * TOTAL)


@pytest.mark.parametrize(
    ("cuts", "steps"), [(1, [10]), (2, [5, 10]), (3, [4, 7, 10]), (99, list(range(1, 11)))]
)
def test_cuts_are_spread_over_the_ramp(
    task: Task, training: Training, tmp_path: Path, cuts: int, steps: list[int]
) -> None:
    counts = kept(GradualMagnitude(ramp=0.5, cuts=cuts), task, training, tmp_path)[1]
    changed = [step for step, (a, b) in enumerate(zip([TOTAL, *counts], counts, strict=False), 1) if a != b]
    assert changed == steps


def test_weights_go_on_from_the_level_before(task: Task, training: Training, tmp_path: Path) -> None:
    still = replace(training, lr=1e-30, first_lr=0.2, weight_decay=0.0)
    first, second = run_levels(GradualMagnitude(), task, still, (1.0, 0.5), tmp_path, Silent())
    for name, mask in second.masks.tensors.items():
        assert torch.equal(second.state[name], first.state[name] * torch.from_numpy(mask))


def test_without_training_it_cannot_cut(task: Task, training: Training, tmp_path: Path) -> None:
    with pytest.raises(
        BadValue, match="epochs must be at least 1; gradual_magnitude cuts while it trains, got 0"
    ):
        list(
            run_levels(GradualMagnitude(), task, replace(training, epochs=0), (1.0, 0.5), tmp_path, Silent())
        )


def test_bad_options_are_refused(task: Task, training: Training, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="ramp must be above 0 and at most 1, got 0"):
        GradualMagnitude(ramp=0)
    with pytest.raises(BadValue, match="cuts must be at least 1, got 0"):
        GradualMagnitude(cuts=0)
    with pytest.raises(UnknownName, match="no schedule named 'cubik'; did you mean 'cubic'"):
        GradualMagnitude(schedule="cubik").check((1.0,))
