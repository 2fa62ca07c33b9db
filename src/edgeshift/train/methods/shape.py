# SPDX-License-Identifier: Apache-2.0
"""The contract of a method that trains."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import Masks
from edgeshift.train.options import Training
from edgeshift.train.run import Run

NOUN = "method"
# Of one step, in forward passes: forward, gradient of the inputs, gradient of the weights.
PASSES = 3


class Method(ABC):
    """Says how each level begins and what changes while it is trained.

    A method holds options only; what it must remember lies in `Run.memory`, so that a level goes on after
    a crash. For each level the loop calls `begin` once, in every step `loss`, `before_step` and `after_step`,
    and `finish` and `masks` at the end. `forward` is the network as the method sees it, in training and in
    evaluation.
    """

    card: ClassVar[Card]

    def check(self, levels: tuple[float, ...]) -> None:
        """Refuse levels the method cannot make; called before anything is computed.

        Raises:
            BadValue: Unless the first level is dense.
        """
        if levels[0] != 1:
            raise BadValue("first level", levels[0], "1.0, the dense network that the others are cut from")

    def reads(self) -> tuple[Path, ...]:
        """Files that options name; their content decides the bytes of a run too."""
        return ()

    def epochs(self, training: Training, index: int) -> int:
        """Epochs of a level, unless `begin` sets `run.steps`."""
        return training.epochs_of(index)

    def calibration(self, training: Training) -> int:
        """Training batches to measure batch-norm statistics anew at the end of a level; 0 = leave them."""
        return training.recalibrate

    @abstractmethod
    def begin(self, run: Run) -> None:
        """Give `run.model` its weights and masks. It holds the factory's weights and no masks.

        A level that goes on after a crash begins from its checkpoint, without this call.
        """

    def forward(self, run: Run, images: Tensor) -> Tensor:
        """Outputs `(n, classes)` of the network as it stands; soft masks are applied here."""
        return run.outputs(images)

    def settled(self, run: Run) -> bool:
        """Whether masks stay as they are from here to the end of the level; dead channels are then left out."""
        return False

    def loss(self, run: Run, images: Tensor, loss_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Outputs to count the accuracy of, and the loss to go back from; several passes are allowed.

        Args:
            run: The level.
            images: `(n, C, H, W)`, normalised.
            loss_of: Outputs -> loss on this batch's labels, with smoothing and the teacher's share.
        """
        outputs = self.forward(run, images)
        return outputs, loss_of(outputs)

    def before_step(self, run: Run) -> None:
        """Called between backward and the optimizer's step.

        Gradients may be changed; they are dense here, and those of removed weights are zeroed afterwards.
        """
        return

    def after_step(self, run: Run) -> None:
        """Called after the optimizer's step, with `run.step` counted up; masks and weights may be changed."""
        return

    def finish(self, run: Run) -> None:
        """Called when the last step of a level is behind: what was soft becomes hard."""
        return

    def spent(self, run: Run) -> float:
        """Multiply-accumulates of the step at `run.step` for one image, if zeros cost nothing.

        Three passes of the masked network: forward, gradient of inputs, gradient of weights. A method that
        also needs what the masks hide says so here.
        """
        return PASSES * run.live_macs()

    def masks(self, run: Run) -> Masks:
        """The masks of the finished level."""
        return run.masking.masks()


class TrainsOnce(Method):
    """All training is in level 0; later levels take something out of it, and measure norms of their own."""

    NORM_BATCHES: ClassVar[int] = 20

    def epochs(self, training: Training, index: int) -> int:
        """See `Method.epochs`; all of them in level 0, trained weights or not."""
        return (training.epochs_of(0) or training.epochs) if index == 0 else 0

    def calibration(self, training: Training) -> int:
        """See `Method.calibration`; a level's norms are always its own."""
        return training.recalibrate or self.NORM_BATCHES
