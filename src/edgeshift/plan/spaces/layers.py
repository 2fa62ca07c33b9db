# SPDX-License-Identifier: Apache-2.0
"""Per-layer choices of the user's own network: which scheme, how much of it, which precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, option, row

SCHEMES = ("dense", "channel:0.75", "channel:0.5", "block_4x4:0.5", "pattern:0.44")


@dataclass(frozen=True)
class Layers(Space):
    """One choice per layer, each among the options of its own.

    An option is text that the one who builds understands, `<pattern>:<kept share>[:<precision>]`; "dense" is the
    layer as it is.

    Attributes:
        names: Of the layers, in forward order.
        options: Per layer, what it may become; one entry stands for all layers.
    """

    card: ClassVar[Card] = Card(
        name="layers",
        says="A pruning scheme, kept share and precision for each layer of a network.",
        paper="Gong et al., 2021",
        link="https://arxiv.org/abs/2111.11581",
    )

    names: tuple[str, ...] = ("conv1", "conv2", "conv3", "fc")
    options: tuple[tuple[str, ...], ...] = (SCHEMES,)

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not self.names:
            raise BadValue("layers", self.names, "distinct names, at least one")
        if len(self.options) not in (1, len(self.names)) or any(
            len(set(o)) != len(o) or not o for o in self.options
        ):
            raise BadValue("options", self.options, "distinct ones for each layer, or one entry for all")

    @property
    def each(self) -> tuple[tuple[str, ...], ...]:
        """The options of every layer."""
        return self.options * len(self.names) if len(self.options) == 1 else self.options

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return tuple(map(len, self.each))

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: layer -> option."""
        return {n: o[int(k)] for n, o, k in zip(self.names, self.each, design, strict=True)}

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`."""
        if set(described) != set(self.names):
            raise BadValue("layers", sorted(described), f"exactly {', '.join(self.names)}")
        return row(
            [option(f"option of {n}", described[n], o) for n, o in zip(self.names, self.each, strict=True)]
        )
