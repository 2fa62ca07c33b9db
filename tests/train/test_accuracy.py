# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeshift.core.errors import NotFinite
from edgeshift.data import Split
from edgeshift.train import evaluate
from edgeshift.train.accuracy import batches_of, recalibrate_


class Brightest(nn.Module):
    """The class is the pixel that is brightest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


PIXELS = np.eye(4, dtype=np.uint8).reshape(4, 1, 2, 2) * 200
SPLIT = Split(PIXELS, np.array([0, 1, 2, 0], dtype=np.int64))


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_it_is_the_share_of_right_answers(batch_size: int) -> None:
    assert evaluate(Brightest(), SPLIT, (0.5,), (0.5,), batch_size=batch_size) == 0.75


def test_the_mode_of_the_model_stays() -> None:
    model = Brightest().train()
    evaluate(model, SPLIT, (0.5,), (0.5,))
    assert model.training


def test_the_thread_count_stays() -> None:
    before = torch.get_num_threads()
    evaluate(Brightest(), SPLIT, (0.5,), (0.5,), threads=before + 1)
    assert torch.get_num_threads() == before


def test_outputs_that_are_nan_are_refused() -> None:
    broken = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    nn.init.constant_(broken[1].weight, float("nan"))
    with pytest.raises(NotFinite, match="outputs of the model must be finite, got NaN"):
        evaluate(broken, SPLIT, (0.5,), (0.5,))


def test_recalibration_averages_over_the_batches() -> None:
    images = np.array([0, 255, 255, 255], dtype=np.uint8).reshape(4, 1, 1, 1).repeat(2, 2).repeat(2, 3)
    norm = nn.BatchNorm2d(1)
    norm.running_mean.fill_(9)
    recalibrate_(norm, batches_of(replace(SPLIT, images=images), (0.0,), (1.0,)).plain(2), count=2)
    assert norm.running_mean.item() == pytest.approx(0.75)  # batch means 0.5 and 1
    assert (norm.momentum, norm.training) == (0.1, True)


def test_recalibration_changes_no_weight() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    before = {n: p.clone() for n, p in model.named_parameters()}
    recalibrate_(model, batches_of(SPLIT, (0.5,), (0.5,)).plain(2), count=1)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
