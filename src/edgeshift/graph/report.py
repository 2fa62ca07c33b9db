# SPDX-License-Identifier: Apache-2.0
"""What shrinking took away, and why."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Counts:
    """How big a network is.

    Attributes:
        parameters: Numbers in all parameters; shared ones count once.
        macs: Multiply-accumulates of convolutions and linear layers for one input.
        widths: Layer name -> output channels, in forward order.
    """

    parameters: int
    macs: int
    widths: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """What went.

    Attributes:
        before: Size of the model.
        after: Size of the shrunk model.
        unread: Layer name -> live channels gone since nobody reads them.
        constant: Layer name -> channels gone that always were one number.
        revived: Dead channels that stay, since a block must stay full or a layer needs one channel.
        unruled: Operators without a rule that kept channels -> how often they occur.
        pinned: Places in the user's code that spell out a size, "file.py:12", and so kept it.
    """

    before: Counts
    after: Counts
    unread: Mapping[str, int]
    constant: Mapping[str, int]
    revived: int
    unruled: Mapping[str, int]
    pinned: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for the terminal."""
        a, b = self.before, self.after
        lines = [
            f"parameters {a.parameters:,} -> {b.parameters:,} ({a.parameters / max(1, b.parameters):.2f}x smaller)",
            f"MACs       {a.macs:,} -> {b.macs:,} ({a.macs / max(1, b.macs):.2f}x fewer)",
            f"channels gone: {sum(self.unread.values())} unread, {sum(self.constant.values())} constant;"
            f" {self.revived} dead ones stay to keep blocks full",
        ]
        lines += [f"no rule for {name} ({count}x): its channels stay" for name, count in self.unruled.items()]
        lines += [f"{place} spells out a size: its channels stay" for place in self.pinned]
        return "\n".join(lines)
