# SPDX-License-Identifier: Apache-2.0
"""A network whose channels are masked for good, trained as the smaller network that it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgeshift.core.values import ChannelGroup
from edgeshift.train.accuracy import NORMS
from edgeshift.train.exact import NARROW, strided_points
from edgeshift.train.macs import Macs, kept_channels

# What the smaller network may cost, of the whole one, to be worth the selecting.
WORTH = 0.95
# Images on which both are compared.
CHECKED = 8
# Outputs of both may differ by rounding: relative to the largest, in float32.
NEAR = 1e-4


@dataclass(frozen=True)
class Narrow:
    """Which rows and columns of a model's tensors are alive.

    The model's own parameters stay whole and are selected from in every pass, so that gradients, momentum, masks and
    checkpoints know of no other shapes. A dead channel is zero after its batch norm, so leaving it out changes
    nothing but the order in which numbers are added up.

    Attributes:
        rows: Parameter or buffer -> the rows that stay.
        columns: Weight -> the columns that stay.
    """

    rows: Mapping[str, Tensor]
    columns: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, model: nn.Module, masks: Mapping[str, Tensor], groups: tuple[ChannelGroup, ...], macs: Macs
    ) -> Self | None:
        """What masks leave of a model; None where that is not much less.

        Args:
            model: Not changed.
            masks: Parameter -> bool tensor.
            groups: Channels that go together; those that nobody reads stay, and so many dead ones as it takes for
                the network to stay one that can be trained with channels last.
            macs: What the layers cost.
        """
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        gone: list[dict[str, list[np.ndarray]]] = [{}, {}]
        kept = {}
        unsafe = {f"{name}.weight" for name in strided_points(model)}
        for group in groups:
            alive = kept_channels(group, masks)
            if alive is None or alive.all() or not group.columns:
                continue
            if unsafe & set(group.columns):
                alive[np.flatnonzero(~alive)[: max(0, NARROW - int(alive.sum()))]] = True
            kept[group.name] = int(alive.sum())
            for table, found in zip((group.rows, group.columns), gone, strict=True):
                for name, index in table.items():
                    found.setdefault(name, []).append(index[~alive].ravel())
        if macs.of_widths(macs.widths(kept)) > WORTH * macs.dense:
            return None
        rows, columns = (
            {
                name: torch.from_numpy(
                    np.setdiff1d(np.arange(tensors[name].shape[axis]), np.concatenate(parts))
                )
                for name, parts in found.items()
            }
            for axis, found in enumerate(gone)
        )
        for path, module in model.named_modules():
            if isinstance(module, NORMS) and (stays := rows.get(f"{path}.weight")) is not None:
                rows |= {n: stays for b in ("running_mean", "running_var") if (n := f"{path}.{b}") in tensors}
        device = next(model.parameters()).device
        return cls({n: i.to(device) for n, i in rows.items()}, {n: i.to(device) for n, i in columns.items()})

    def run(self, model: nn.Module, images: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs `(n, classes)`; gradients and running statistics reach the whole tensors.

        Args:
            model: Whose tensors are selected from.
            images: `(n, C, H, W)`, normalised.
            given: Whole tensors in place of the model's own, by name.
        """
        own = given or {}
        buffers = {**dict(model.named_buffers()), **own}
        tensors = {**dict(model.named_parameters()), **buffers}
        taken = {n: self.selected(n, tensors[n]) for n in {**self.rows, **self.columns}}
        outputs: Tensor = functional_call(model, {**own, **taken}, (images,))
        if model.training:
            for name in self.rows.keys() & dict(model.named_buffers()).keys():
                buffers[name].index_copy_(0, self.rows[name], taken[name])
        return outputs

    def selected(self, name: str, tensor: Tensor) -> Tensor:
        """The rows and columns that stay."""
        for axis, table in enumerate((self.rows, self.columns)):
            if name in table:
                tensor = tensor.index_select(axis, table[name])
        return tensor


def checked(
    found: Narrow | None,
    model: nn.Module,
    whole: Mapping[str, Tensor],
    images: Tensor,
    given: Mapping[str, Tensor] | None = None,
) -> Narrow | None:
    """The smaller network if it gives the outputs of the whole one; else None.

    Args:
        found: Of `Narrow.of`.
        model: Whose tensors both select from.
        whole: Tensors in place of the model's own under which it is masked, by name.
        images: `(n, C, H, W)`, normalised; the first `CHECKED` are compared.
        given: See `Narrow.run`.
    """
    few = images[:CHECKED]
    if found is None or not agree(
        model, partial(functional_call, model, dict(whole), (few,)), partial(found.run, model, few, given)
    ):
        return None
    return found


def agree(model: nn.Module, whole: Callable[[], Tensor], small: Callable[[], Tensor]) -> bool:
    """Whether a smaller network runs and gives the outputs of the whole one, in evaluation.

    Args:
        model: What both run; its training mode is as before afterwards.
        whole: Outputs under the masks.
        small: Outputs of the narrower tensors.
    """
    training, device = model.training, next(model.parameters()).device.type
    model.eval()
    try:
        # Not in bf16, whose rounding alone is larger than `NEAR`.
        with torch.no_grad(), torch.autocast(device, enabled=False):
            one, other = whole(), small()
        return one.shape == other.shape and bool((one - other).abs().max() <= NEAR * one.abs().max())
    except RuntimeError:  # sizes that the model's own code states, such as `groups` of a convolution
        return False
    finally:
        model.train(training)
