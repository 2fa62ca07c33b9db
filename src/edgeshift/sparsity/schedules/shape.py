# SPDX-License-Identifier: Apache-2.0
"""The contract of a schedule."""

from abc import ABC, abstractmethod
from typing import ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue

NOUN = "schedule"


class Schedule(ABC):
    """Says which fraction is kept while a count of steps goes by."""

    card: ClassVar[Card]

    def keep(self, step: int, total: int, final: float) -> float:
        """The kept fraction after `step` of `total` steps, never rising.

        Args:
            step: Steps done, from 0; past `total` the answer stays `final`.
            total: Steps until `final` is reached, at least 1.
            final: Kept at the end, above 0 and at most 1.

        Returns:
            Between `final` and 1; exactly `final` from step `total` on.

        Raises:
            BadValue: If an argument is out of range.
        """
        if total < 1:
            raise BadValue("total", total, "at least 1")
        if step < 0:
            raise BadValue("step", step, "0 or more")
        if not 0 < final <= 1:
            raise BadValue("final", final, "above 0 and at most 1")
        return final if step >= total else min(1.0, max(final, self.at(step / total, final)))

    @abstractmethod
    def at(self, done: float, final: float) -> float:
        """The kept fraction when `done` (0 to below 1) of the way is behind; arguments are checked."""
