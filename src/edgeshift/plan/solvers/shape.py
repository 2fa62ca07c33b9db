# SPDX-License-Identifier: Apache-2.0
"""The contract of a solver."""

from abc import ABC, abstractmethod
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.plan.problem import Answer, Problem

NOUN = "solver"


class Solver(ABC):
    """Finds the design that gains most inside the limits.

    A solver holds options only; equal problems and seeds give equal answers. The answer is a settled design of
    the space, and names every limit that it does not keep.
    """

    card: ClassVar[Card]

    @abstractmethod
    def solve(self, problem: Problem, seed: int = 0) -> Answer:
        """The best design found.

        Args:
            problem: Space, gain, costs with limits.
            seed: Of every draw.

        Raises:
            BadValue: If the problem is not of a kind the solver takes; the message says which.
        """
