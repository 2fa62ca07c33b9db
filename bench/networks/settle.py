# SPDX-License-Identifier: Apache-2.0
"""Norm layers as training leaves them, so that a fresh network is not degenerate."""

import torch
from torch import Tensor, nn

_BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_AFFINE = (
    *_BATCH,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def scatter_(model: nn.Module, seed: int) -> None:
    """Give every norm layer scales uniform in 0.5..1.5 and shifts of deviation 0.2, in place."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _AFFINE):
            _affine_(module, generator)


def measure_(model: nn.Module, example: tuple[Tensor, ...], seed: int) -> None:
    """Give every batch norm running statistics that suit what reaches it, in place.

    They are those of one forward pass over `example`, layer after layer, each moved a little: no activation
    dies out or blows up with depth, and none is normed perfectly either.

    Args:
        model: In eval mode.
        example: What `model` takes; more than two samples give steadier variances.
        seed: Seeds the moves.
    """
    generator = torch.Generator().manual_seed(seed)

    def measure(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        rows = arguments[0].transpose(0, 1).flatten(1)
        var = rows.var(1)
        var = var.clamp_min(0.1 * float(var.mean()) + 1e-3)  # a channel that is almost still must not explode
        spread = torch.randn(2, len(var), generator=generator)
        module.running_mean.copy_(rows.mean(1) + 0.1 * var.sqrt() * spread[0])  # type: ignore[operator]  # torch types buffers as Tensor | Module
        module.running_var.copy_(var * (0.2 * spread[1]).exp())  # type: ignore[operator]  # torch types buffers as Tensor | Module

    handles = [m.register_forward_pre_hook(measure) for m in model.modules() if isinstance(m, _BATCH)]
    try:
        if handles:
            with torch.no_grad():
                model(*example)
    finally:
        for handle in handles:
            handle.remove()


def _affine_(module: nn.Module, generator: torch.Generator) -> None:
    own = dict(module.named_parameters(recurse=False))
    with torch.no_grad():
        if "weight" in own:
            own["weight"].copy_(0.5 + torch.rand(own["weight"].shape, generator=generator))
        if "bias" in own:
            own["bias"].copy_(0.2 * torch.randn(own["bias"].shape, generator=generator))
