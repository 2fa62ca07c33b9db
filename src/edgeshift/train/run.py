# SPDX-License-Identifier: Apache-2.0
"""What a method sees of the loop while a level is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeshift.train.macs import Macs
from edgeshift.train.masking import Masking
from edgeshift.train.narrow import Narrow, agree
from edgeshift.train.options import Training
from edgeshift.train.task import Level, Task


@dataclass
class Run:
    """One level in the making. The loop owns it; methods change the model, the masks and `memory`.

    Attributes:
        task: Network and data.
        training: Options of the loop.
        kept: Kept fraction to reach at the end of the level.
        index: Of the level, from 0.
        model: With the factory's weights when the level begins.
        masking: The masks on `model`.
        optimizer: Without momentum when the level begins.
        steps: Of the whole level; a method may set another multiple of an epoch's when the level begins.
        steps_per_epoch: To turn epochs into steps.
        fresh: State of the factory's weights; not to be changed.
        first: Level 0; None while it is made.
        previous: The level before; None at level 0.
        step: Steps behind, counted from 0; a method that rewinds may begin later than 0.
        memory: Tensors that a method keeps over steps and levels; saved with every checkpoint.
        macs: What the network costs, by layer.
        live: Of one pass under the masks; None = to be counted.
        settled: Whether masks stay as they are to the end of the level.
        narrow: The smaller network that settled masks leave; None = the whole one is computed.
        forms: The same for every form of a method that trains several at once; None = computed whole.
        indices: Arrays of the task that lie on the model's device already; see `on_device`.
    """

    task: Task
    training: Training
    kept: float
    index: int
    model: nn.Module
    masking: Masking
    optimizer: torch.optim.SGD
    steps: int
    steps_per_epoch: int
    fresh: Mapping[str, Tensor]
    first: Level | None
    previous: Level | None
    macs: Macs
    step: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)
    live: float | None = None
    settled: bool = False
    narrow: Narrow | None = None
    forms: dict[int, Narrow | None] = field(default_factory=dict, repr=False)
    indices: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def on_device(self, array: NDArray[np.int64]) -> Tensor:
        """An array of a channel group as a tensor where the model is; copied once, since a copy makes a GPU wait."""
        if id(array) not in self.indices:
            self.indices[id(array)] = torch.from_numpy(array).to(self.device)
        return self.indices[id(array)]

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Put masks on the model; what they remove is zero from here on."""
        self.masking.set_(masks, self.optimizer)
        self.live = None

    def settle(self, images: Tensor) -> bool:
        """From here on masks stay: compute no more than what they leave; False if the model does not run on that.

        Args:
            images: `(n, C, H, W)`, normalised; both networks must give the same outputs for them.
        """
        self.settled = True
        narrow = Narrow.of(self.model, self.masking.tensors, self.task.groups, self.macs)
        if narrow and agree(self.model, lambda: self.model(images), lambda: narrow.run(self.model, images)):
            self.narrow = narrow
        return narrow is None or self.narrow is not None

    def outputs(self, images: Tensor) -> Tensor:
        """Outputs `(n, classes)` of the network as it stands."""
        found: Tensor = self.narrow.run(self.model, images) if self.narrow else self.model(images)
        return found

    def live_macs(self) -> float:
        """Multiply-accumulates of one forward pass for one image, without what the masks remove."""
        if self.live is None:
            self.live = self.macs.of_masks(self.masking.tensors)
        return self.live

    def rate(self) -> float:
        """Learning rate of the step at hand."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of their own memory, on the CPU, contiguous, without gradient."""
    return {
        name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
