# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.train import Task, Training
from edgeshift.train.run import Run
from tests.train.methods.watch import watched


def dense_layers(run: Run) -> tuple[str, ...]:
    return tuple(n for n, m in run.masking.tensors.items() if bool(m.all()))


@pytest.mark.parametrize("parallel", [False, True])
def test_one_part_is_dense_at_a_time_and_each_gets_its_rounds(
    task: Task, training: Training, tmp_path: Path, parallel: bool
) -> None:
    found, seen = watched(
        "grow_and_prune",
        dense_layers,
        task,
        training,
        (1.0, 0.3),
        tmp_path,
        partitions=3,
        rounds=2,
        share=0.6,
        parallel=parallel,
        allocation="uniform",
    )
    # Largest first: 3.weight, 9.weight, 0.weight. Two of 20 steps a turn, twice round, then nothing is dense.
    turns = [("3.weight",), ("9.weight",), ("0.weight",)] * 2
    wanted = [t for turn in turns for t in (turn, turn)]
    assert seen[1][:11] == wanted[1:]
    assert seen[1][11:] == [()] * 9
    assert found[1].masks.kept == round(0.3 * 1864)


def test_too_few_steps_for_all_turns_are_refused(task: Task, training: Training, tmp_path: Path) -> None:
    short = replace(training, epochs=1, batch_size=300)
    with pytest.raises(BadValue, match="steps of a level must be at least 10, one for every turn, got 2"):
        watched("grow_and_prune", dense_layers, task, short, (1.0, 0.3), tmp_path, partitions=3)
