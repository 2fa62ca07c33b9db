# SPDX-License-Identifier: Apache-2.0
"""What a method is given and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from edgeshift.core.errors import BadData, BadValue
from edgeshift.core.values import ChannelGroup, Masks
from edgeshift.data import Split


@dataclass(frozen=True)
class Task:
    """A network and the data to train it on.

    Attributes:
        factory: Builds the network; every call gives equal weights, fresh or pretrained.
        train: Images and labels to learn from.
        validation: Images and labels to judge by; never learnt from.
        mean: Per input channel, subtracted from pixels in 0..1.
        std: Per input channel, divides after `mean`.
        groups: Channels that go together, for channel patterns; may be empty otherwise.
        teacher: Builds a trained network to distil from; None = the network of level 0.
    """

    factory: Callable[[], nn.Module]
    train: Split
    validation: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    groups: tuple[ChannelGroup, ...] = ()
    teacher: Callable[[], nn.Module] | None = None

    def check(self) -> "Task":
        """Self, or the first error."""
        for split in (self.train, self.validation):
            split.check()
        if self.train.images.shape[1:] != self.validation.images.shape[1:]:
            got = f"{self.train.images.shape[1:]} and {self.validation.images.shape[1:]}"
            raise BadData(f"train and validation images must be of one shape, got {got}")
        channels = self.train.images.shape[1]
        if len(self.mean) != channels or not np.isfinite(self.mean).all():
            raise BadValue("mean", self.mean, f"{channels} finite numbers, one per input channel")
        if len(self.std) != channels or not all(0 < s < np.inf for s in self.std):
            raise BadValue("std", self.std, f"{channels} numbers above 0, one per input channel")
        for group in self.groups:
            group.check()
        return self


@dataclass(frozen=True)
class Level:
    """One finished level: a candidate variant.

    Attributes:
        index: From 0.
        kept: The kept fraction that was asked for, of what the method's pattern counts.
        masks: Which weights stay; empty arrays never, all true at a dense level.
        state: Parameter and buffer name -> tensor, masks applied: what is removed is exactly zero.
        curve: One record per epoch: epoch, loss, accuracy, validation_accuracy, lr, seconds.
        validation_accuracy: Top-1 on the validation split at the end, 0..1.
    """

    index: int
    kept: float
    masks: Masks
    state: Mapping[str, Tensor]
    curve: tuple[Mapping[str, float], ...]
    validation_accuracy: float

    def check(self) -> "Level":
        """Self, or BadValue."""
        self.masks.check()
        for name, mask in self.masks.tensors.items():
            if name not in self.state or tuple(self.state[name].shape) != mask.shape:
                raise BadValue(f"mask of {name}", mask.shape, "the shape of a tensor in the state")
            if int(self.state[name].numpy()[~mask].any()):
                raise BadValue(f"removed weights of {name}", "other values", "zero")
        return self
