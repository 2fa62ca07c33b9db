# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.sparsity.allocation import counts, erk
from edgeshift.train import Task, Training
from edgeshift.train.methods.rigl import Rigl
from edgeshift.train.run import Run
from tests.train.methods.watch import watched

SHAPES = {"0.weight": (8, 1, 3, 3), "3.weight": (16, 8, 3, 3), "9.weight": (10, 64)}
SIZES = {"0.weight": 72, "3.weight": 1152, "9.weight": 640}


def active(run: Run) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in run.masking.tensors.items()}


def test_every_layer_keeps_its_erk_count_at_every_step(
    task: Task, training: Training, tmp_path: Path
) -> None:
    _, seen = watched("rigl", active, task, training, (1.0, 0.3), tmp_path, every=3)
    wanted = counts(SIZES, erk(SHAPES, 0.3), round(0.3 * 1864))
    assert seen[1] == [wanted] * 20


def test_weights_move_and_then_rest(task: Task, training: Training, tmp_path: Path) -> None:
    _, seen = watched(
        "rigl",
        lambda run: run.masking.tensors["3.weight"].clone(),
        task,
        training,
        (1.0, 0.3),
        tmp_path,
        every=5,
        end=0.75,
    )
    moved = [k for k in range(1, 20) if not torch.equal(seen[1][k], seen[1][k - 1])]
    assert moved == [5, 10]  # steps 5 and 10 of 20; the third would be at 15, where all rests


def test_no_step_is_made_where_weights_move(task: Task, training: Training, tmp_path: Path) -> None:
    _, seen = watched(
        "rigl",
        lambda run: run.model[4].bias.detach().clone(),
        task,
        training,
        (1.0, 0.3),
        tmp_path,
        every=5,
    )
    same = [k for k in range(1, 20) if torch.equal(seen[1][k], seen[1][k - 1])]
    assert same == [5, 10]


def test_the_smallest_drop_and_the_steepest_grow() -> None:
    class Still:
        """As much of a run as the choice needs: the first step of a cosine."""

        step, steps, index = 0, 10, 1

    mask = torch.tensor([True, True, True, True, False, False])
    size = torch.tensor([4.0, 1.0, 3.0, 2.0, 0.0, 0.0])
    steep = torch.tensor([0.0, 5.0, 0.0, 1.0, 2.0, 9.0])
    after = Rigl(alpha=0.5).moved(Still(), "w", mask, size, steep)  # type: ignore[arg-type]
    # 1.0 and 2.0 drop; 9.0 grows and the just dropped 5.0 comes back.
    assert after.tolist() == [True, True, True, False, False, True]


def test_the_gradient_outside_the_mask_is_there_to_grow_from(
    task: Task, training: Training, tmp_path: Path
) -> None:
    found = {}

    class Looking(Rigl):
        """Compares at the first move."""

        def before_step(self, run: Run) -> None:
            if self.moves(run) and not found:
                gradient, mask = run.masking.parameters["3.weight"].grad, run.masking.tensors["3.weight"]
                found["outside"] = bool(gradient[~mask].abs().sum() > 0)
            super().before_step(run)

    from edgeshift.core.progress import Silent
    from edgeshift.train import run_levels

    list(run_levels(Looking(every=5), task, training, (1.0, 0.3), tmp_path, Silent()))
    assert found["outside"]


def test_whole_channels_move_at_a_constant_count(task: Task, training: Training, tmp_path: Path) -> None:
    levels, seen = watched(
        "rigl",
        lambda run: {n: int(m.sum()) for n, m in run.memory.items()},
        task,
        training,
        (1.0, 0.5),
        tmp_path,
        every=3,
        pattern="channel",
        allocation="uniform",
    )
    assert seen[1] == [{"chosen/0": 4, "chosen/3": 8}] * 20
    assert levels[1].masks.tensors["1.bias"].sum() == 4
    assert levels[1].masks.tensors["4.bias"].sum() == 8


def test_a_move_is_charged_for_the_dense_gradient(task: Task, training: Training, tmp_path: Path) -> None:
    plain, _ = watched("rigl", active, task, training, (1.0, 0.3), tmp_path / "a", every=100)
    moving, _ = watched("rigl", active, task, training, (1.0, 0.3), tmp_path / "b", every=5)
    spent = [sum(r["training_macs"] for r in x[1].curve) for x in (plain, moving)]
    assert spent[1] > spent[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": 2.0}, "alpha must be 0 to 1, got 2.0"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"allocation": "er"}, "allocation must be one of erk, uniform, got 'er'"),
        ({"pattern": "block"}, "pattern must be one of unstructured, channel, got 'block'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(BadValue, match=says):
        Rigl(**options)  # type: ignore[arg-type]
