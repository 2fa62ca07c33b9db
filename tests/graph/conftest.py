# SPDX-License-Identifier: Apache-2.0
"""Small networks run slower on several threads than on one."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread and the same random numbers for every test here."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
