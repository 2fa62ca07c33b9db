# SPDX-License-Identifier: Apache-2.0
"""Real digits and a network of 2 k weights; `tests.train` becomes importable, whatever the import mode is."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from edgeshift.core.values import ChannelGroup
from edgeshift.data import Split
from edgeshift.train import Task, Training

sys.path.insert(0, str(Path(__file__).parents[2]))


def tiny(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(64, 10),
        )


def groups() -> tuple[ChannelGroup, ...]:
    def rows(n: int) -> np.ndarray:
        return np.arange(n, dtype=np.int64).reshape(n, 1)

    first = {"0.weight": rows(8), "1.weight": rows(8), "1.bias": rows(8)}
    second = {"3.weight": rows(16), "4.weight": rows(16), "4.bias": rows(16)}
    read = np.arange(64, dtype=np.int64).reshape(16, 4)  # pooled to 2x2 and flattened
    return (
        ChannelGroup("0", first, macs=9792.0, columns={"3.weight": rows(8)}),
        ChannelGroup("3", second, macs=4648.0, columns={"9.weight": read}),
    )


@pytest.fixture(scope="session")
def task() -> Task:
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)
    train = Split(pixels[:600], labels[:600].astype(np.int64))
    validation = Split(pixels[600:800], labels[600:800].astype(np.int64))
    return Task(tiny, train, validation, mean=(0.3,), std=(0.35,), groups=groups())


@pytest.fixture
def training() -> Training:
    return Training(
        epochs=2,
        batch_size=64,
        lr=0.2,
        warmup_epochs=0.5,
        augment="crop",
        threads=1,
        checkpoint_seconds=0,
    )


@pytest.fixture
def with_factory(task: Task) -> Callable[[Callable[[], nn.Module]], Task]:
    return lambda factory: replace(task, factory=factory)
