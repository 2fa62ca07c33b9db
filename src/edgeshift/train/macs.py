# SPDX-License-Identifier: Apache-2.0
"""What a network costs while channels or weights are missing: multiply-accumulates, counted layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from edgeshift.core.values import ChannelGroup
from edgeshift.train.cut import MASKABLE

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of every convolution and linear layer for one input; other layers count nothing.

    Attributes:
        layers: Weight -> its multiply-accumulates in the whole network.
        shapes: Weight -> its shape.
        groups: Channels that go together; their rows and columns say which part of a layer goes with them.
    """

    layers: Mapping[str, float]
    shapes: Mapping[str, tuple[int, ...]]
    groups: tuple[ChannelGroup, ...] = ()

    @property
    def dense(self) -> float:
        """Of the whole network."""
        return sum(self.layers.values())

    def widths(self, kept: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Weight -> rows and columns left, where each group keeps that many channels."""
        left = {name: [shape[0], shape[1] if len(shape) > 1 else 1] for name, shape in self.shapes.items()}
        for group in self.groups:
            gone = group.channels - kept.get(group.name, group.channels)
            for axis, table in enumerate((group.rows, group.columns)):
                for name, index in table.items():
                    if name in left:
                        left[name][axis] -= gone * index.shape[1]
        return {name: (rows, columns) for name, (rows, columns) in left.items()}

    def of_widths(self, widths: Mapping[str, tuple[int, int]]) -> float:
        """Of the network with those rows and columns left of each layer."""
        return sum(
            macs * widths[name][0] * widths[name][1] / prod((*self.shapes[name], 1)[:2])
            for name, macs in self.layers.items()
        )

    def of_masks(self, masks: Mapping[str, Tensor], only: str | None = None) -> float:
        """Of weights that a mask keeps and whose input channel is alive.

        Args:
            masks: Parameter name -> bool tensor; a parameter without one is whole.
            only: Count this weight alone.
        """
        dead = {name: self._dead_columns(name, masks) for name in self.layers if only in (None, name)}
        total = 0.0
        for name, gone in dead.items():
            mask, shape = masks.get(name), self.shapes[name]
            if mask is None and not gone.size:
                total += self.layers[name]
                continue
            live = torch.ones(shape, dtype=torch.bool) if mask is None else mask.detach().cpu().clone()
            live[:, torch.from_numpy(gone)] = False
            total += self.layers[name] * float(live.sum()) / live.numel()
        return total

    def _dead_columns(self, name: str, masks: Mapping[str, Tensor]) -> np.ndarray:
        """Columns of a weight that read a channel none of whose rows is kept."""
        found = [np.zeros(0, np.int64)]
        for group in self.groups:
            if name in group.columns and (alive := kept_channels(group, masks)) is not None:
                found.append(group.columns[name][~alive].ravel())
        return np.concatenate(found)


def kept_channels(group: ChannelGroup, masks: Mapping[str, Tensor]) -> np.ndarray | None:
    """`(channels,)`, bool: those of which any row is kept; None where a parameter of the group has no mask."""
    alive = np.zeros(group.channels, np.bool_)
    for name, rows in group.rows.items():
        if name not in masks:
            return None
        by_row = masks[name].detach().flatten(1).any(1) if masks[name].ndim > 1 else masks[name].detach()
        alive |= by_row.cpu().numpy()[rows].any(1)
    return alive


def counted(model: nn.Module, images: Tensor, groups: tuple[ChannelGroup, ...]) -> Macs:
    """The multiply-accumulates of a model, from one pass.

    Args:
        model: Its training mode is as before afterwards.
        images: `(n, C, H, W)`, float32; the count is for one of them.
        groups: Channel groups of the model.
    """
    parameters = {id(p): name for name, p in model.named_parameters()}
    layers: dict[str, float] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        weight = module.weight
        name = parameters.get(id(weight))
        if name is None or not isinstance(weight, Tensor):
            return
        places = given[0] if isinstance(module, TRANSPOSED) else out
        shapes[name] = tuple(weight.shape)
        layers[name] = layers.get(name, 0.0) + places.numel() / len(images) * weight[0].numel()

    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, MASKABLE)]
    training = model.training
    model.eval()
    with torch.no_grad():
        model(images)
    model.train(training)
    for handle in hooks:
        handle.remove()
    return Macs(layers, shapes, groups)
