# SPDX-License-Identifier: Apache-2.0
"""The contract of a method that trains."""

from abc import ABC, abstractmethod
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.values import Masks
from edgeshift.train.run import Run

NOUN = "method"


class Method(ABC):
    """Says how each level begins and what changes while it is trained.

    A method holds options only; what it must remember lies in `Run.memory`, so that a level goes on after
    a crash. For each level the loop calls `begin` once, around every step `before_step` and `after_step`,
    and `masks` at the end.
    """

    card: ClassVar[Card]

    def check(self, levels: tuple[float, ...]) -> None:
        """Refuse levels the method cannot make; called before anything is computed.

        Raises:
            BadValue: Unless the first level is dense.
        """
        if levels[0] != 1:
            raise BadValue("first level", levels[0], "1.0, the dense network that the others are cut from")

    @abstractmethod
    def begin(self, run: Run) -> None:
        """Give `run.model` its weights and masks. It holds the factory's weights and no masks.

        A level that goes on after a crash begins from its checkpoint, without this call.
        """

    def before_step(self, run: Run) -> None:
        """Called between backward and the optimizer's step.

        Gradients may be changed; they are dense here, and those of removed weights are zeroed afterwards.
        """
        return

    def after_step(self, run: Run) -> None:
        """Called after the optimizer's step, with `run.step` counted up; masks and weights may be changed."""
        return

    def masks(self, run: Run) -> Masks:
        """The masks of the finished level."""
        return run.masking.masks()
