# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.train.options import Training


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"epochs": -1}, "epochs must be 0 or more, got -1"),
        ({"first_epochs": -2}, "first_epochs must be 0 or more, got -2"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
        ({"lr": math.nan}, "lr must be above 0, got nan"),
        ({"first_lr": -1.0}, "first_lr must be above 0, got -1.0"),
        ({"momentum": 1.0}, "momentum must be 0 to below 1, got 1.0"),
        ({"momentum": 0.0}, "nesterov must be false without momentum, got True"),
        ({"label_smoothing": 1.0}, "label_smoothing must be 0 to below 1, got 1.0"),
        ({"augment": "flip"}, "augment must be one of none, crop, crop_flip, got 'flip'"),
        ({"bf16": "yes"}, "bf16 must be one of auto, on, off, trial, got 'yes'"),
        ({"threads": 0}, "threads must be at least 1, or None, got 0"),
        ({"distil": 1.5}, "distil must be 0 to 1, got 1.5"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"distil_views": -1}, "distil_views must be 0 or more, got -1"),
        ({"distil_views": 2}, "distil must be above 0 with distil_views, got 0.0"),
        ({"recalibrate": -1}, "recalibrate must be 0 or more, got -1"),
    ],
)
def test_bad_options_are_refused(option: dict[str, object], says: str) -> None:
    with pytest.raises(BadValue, match=says):
        replace(Training(), **option).check()  # type: ignore[arg-type]  # that is the point


def test_the_first_level_may_differ() -> None:
    training = Training(epochs=3, first_epochs=0, lr=0.1, first_lr=0.5)
    assert [training.epochs_of(0), training.epochs_of(1)] == [0, 3]
    assert [training.lr_of(0), training.lr_of(1)] == [0.5, 0.1]


def test_the_rate_rises_linearly_and_then_falls_along_a_cosine() -> None:
    training = Training(lr=0.4, warmup_epochs=1)
    rates = [training.rate(1, step, steps=12, steps_per_epoch=4) for step in range(12)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates[8] == pytest.approx(0.2)  # half way through the cosine
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] > 0


def test_a_level_of_one_step_is_trained_at_the_highest_rate() -> None:
    assert Training(lr=0.4).rate(0, 0, steps=1, steps_per_epoch=1) == 0.4
