# SPDX-License-Identifier: Apache-2.0
"""What an architecture must offer."""

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgeshift.core.card import Card

if TYPE_CHECKING:
    from torch import nn

NOUN = "architecture"


class Architecture(Protocol):
    """A family of networks; its fields are JSON values and all have defaults.

    The network it builds takes `(batch, *input_shape)`, float32, and gives logits `(batch, classes)`,
    float32, or `(batch, classes, height, width)` where it says something of every pixel. torch.export traces
    it. No `forward` names a number of channels, so shrunk widths keep working.

    Attributes:
        card: What it is.
        presets: Public name -> options of this family. A literal: it is read without importing torch.
    """

    card: ClassVar[Card]
    presets: ClassVar[dict[str, dict[str, Any]]]

    def build(self, classes: int, input_shape: tuple[int, ...]) -> "nn.Module":
        """A network with fresh weights.

        Args:
            classes: Number of logits.
            input_shape: `(channels, height, width)`.

        Raises:
            BadValue: If the network cannot take inputs of that shape.
        """
