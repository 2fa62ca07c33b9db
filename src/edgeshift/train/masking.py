# SPDX-License-Identifier: Apache-2.0
"""The one way a mask gets onto a model: weights, gradients and momentum of what is removed are zero."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Masks


class Masking:
    """Masks on a model's own parameters, in place.

    The weight itself is kept masked, so every forward pass, export or copy sees the zeros, names stay as
    they are and nothing has to be baked in at the end. After backward, `parameter.grad` is the dense
    gradient, with respect to removed weights too, until `mask_gradients_` runs; the loop calls it between
    `Method.before_step` and the optimizer. With weight, gradient and momentum all zero, a removed weight
    stays exactly zero under momentum, Nesterov and weight decay.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
        self.tensors: dict[str, Tensor] = {}

    def set_(self, masks: Mapping[str, Tensor], optimizer: torch.optim.SGD | None = None) -> None:
        """Put these masks in place of the old ones and zero what they remove.

        Args:
            masks: Parameter name -> bool tensor of its shape; True = kept.
            optimizer: Its momentum is zeroed too: of what is removed, and of what comes back.

        Raises:
            BadValue: If there is no such parameter, or it has another shape or dtype.
        """
        for name, mask in masks.items():
            if name not in self.parameters:
                raise BadValue("mask", name, "of a parameter of the model")
            if mask.dtype != torch.bool or mask.shape != self.parameters[name].shape:
                got = (mask.dtype, tuple(mask.shape))
                raise BadValue(f"mask of {name}", got, f"bool of shape {tuple(self.parameters[name].shape)}")
        before, self.tensors = self.tensors, {}
        for name, mask in masks.items():
            parameter = self.parameters[name]
            # preserve_format keeps the memory order of the weight, so that products run along memory.
            self.tensors[name] = torch.empty_like(parameter, dtype=torch.bool).copy_(mask)
            momentum = optimizer.state[parameter].get("momentum_buffer") if optimizer else None
            if momentum is not None:
                momentum.mul_(self.tensors[name] & before[name] if name in before else self.tensors[name])
        self.apply_()

    @torch.no_grad()
    def apply_(self) -> None:
        """Zero the removed weights."""
        for name, mask in self.tensors.items():
            self.parameters[name].masked_fill_(~mask, 0.0)

    @torch.no_grad()
    def mask_gradients_(self) -> None:
        """Zero the gradients of removed weights."""
        for name, mask in self.tensors.items():
            gradient = self.parameters[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    def masks(self) -> Masks:
        """The masks as a value of the house; copies."""
        return Masks(
            {n: np.ascontiguousarray(m.cpu().contiguous().numpy()).copy() for n, m in self.tensors.items()}
        )
