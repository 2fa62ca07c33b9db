# SPDX-License-Identifier: Apache-2.0
"""The contract of a policy."""

from abc import ABC, abstractmethod
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.runtime.state import Decision, Ladder, State

NOUN = "policy"


class Policy(ABC):
    """Chooses the variant that answers one request.

    A policy holds options only and is a pure function: equal states give equal decisions. What it must
    remember travels in `Decision.memory`. More load, a shorter deadline or a lower clock never makes it choose
    a larger variant, and a sensor that is missing, stale (older than 5 s) or absurd ends at variant 0.

    Attributes:
        sensors: Names of the sensors that must be read for it; those of a policy inside it come on top, see
            `edgeshift.runtime.limits.sensors_of`.
    """

    card: ClassVar[Card]
    sensors: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def choose(self, state: State, ladder: Ladder) -> Decision:
        """The variant for the request that `state` describes.

        Args:
            state: What is known at this moment.
            ladder: What may be chosen, the fastest first.
        """
