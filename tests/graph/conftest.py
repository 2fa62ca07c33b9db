# SPDX-License-Identifier: Apache-2.0
"""Small networks run slower on several threads than on one; `bench` is importable from the repository's root."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread and the same random numbers for every test here."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
