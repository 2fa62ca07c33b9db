# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.train import Task, Training
from edgeshift.train.methods.n_m import NM, strike
from tests.train.methods.watch import watched


def test_every_full_group_ends_with_n_of_m(task: Task, training: Training, tmp_path: Path) -> None:
    found, _ = watched("n_m", lambda run: None, task, training, (1.0, 0.5), tmp_path)
    masks = found[1].masks.tensors
    assert (np.moveaxis(masks["3.weight"], 1, -1).reshape(-1, 4).sum(1) == 2).all()
    assert (masks["9.weight"].reshape(-1, 4).sum(1) == 2).all()
    assert masks["0.weight"].all()  # one input channel makes no group of four


def test_combinations_fall_along_the_cubic_of_the_paper(
    task: Task, training: Training, tmp_path: Path
) -> None:
    def live(run: object) -> int:
        found = run.memory.get("live/9.weight")  # type: ignore[attr-defined]
        return 1 if found is None else int(found.sum(1).unique().item())

    _, seen = watched("n_m", live, task, training, (1.0, 0.5), tmp_path)
    # C(4, 2) = 6: 1 + ceil(5 * (1 - t / 10) ** 3)
    assert seen[1][:10] == [5, 4, 3, 3, 2, 2, 2, 2, 2, 1]
    assert seen[1][10:] == [1] * 10


def test_it_begins_dense(task: Task, training: Training, tmp_path: Path) -> None:
    _, seen = watched(
        "n_m", lambda run: int(run.masking.tensors["3.weight"].sum()), task, training, (1.0, 0.5), tmp_path
    )
    assert seen[1][0] == 1152  # with five combinations left every weight is in one


def test_what_is_struck_out_stays_out() -> None:
    worth = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]])
    live = torch.tensor([[True, False, True], [True, True, True]])
    assert strike(worth, live, 1).tolist() == [[False, False, True], [True, False, False]]


def test_too_many_combinations_are_refused() -> None:
    with pytest.raises(BadValue, match=r"kept must be at most 0\.125 with m=16: .*, got 0\.5"):
        NM(m=16).check((1.0, 0.5))
