# SPDX-License-Identifier: Apache-2.0
"""Groups of M neighbours along the input axis of a weight, taken apart and put back."""

import torch
from torch import Tensor


def in_groups(weight: Tensor, m: int) -> Tensor:
    """`(out, in, ...)` -> `(groups, m)`: neighbours along the inputs; the leftover of `in % m` is not in it."""
    if weight.ndim < 2:
        return weight.new_zeros((0, m))
    full = weight.shape[1] // m * m
    return weight[:, :full].movedim(1, -1).reshape(-1, m)


def from_groups(grouped: Tensor, whole: Tensor, m: int) -> Tensor:
    """What `in_groups` took apart, put in its places in a copy of `whole`, which gives the leftover."""
    if whole.ndim < 2:
        return whole.clone()
    full = whole.shape[1] // m * m
    shape = whole[:, :full].movedim(1, -1).shape
    return torch.cat([grouped.reshape(shape).movedim(-1, 1), whole[:, full:]], 1)
