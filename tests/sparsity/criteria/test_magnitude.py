# SPDX-License-Identifier: Apache-2.0
import torch

from edgeshift.sparsity.criteria.magnitude import Magnitude


def test_it_is_the_absolute_value() -> None:
    assert Magnitude().score(torch.tensor([-2.0, 0.0, 1.5])).tolist() == [2.0, 0.0, 1.5]
