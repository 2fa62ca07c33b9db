# SPDX-License-Identifier: Apache-2.0
"""Once-for-all MobileNetV3: kernel and expansion of 20 blocks, depth of 5 stages, resolution."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.plan.spaces.shape import Designs, Space, option, row

KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
RESOLUTIONS = tuple(range(128, 225, 4))
BLOCKS, STAGES = 20, 5


@dataclass(frozen=True)
class Ofa(Space):
    """Block i stands in stage i // 4 and exists if i % 4 is below the stage's depth; about 1e19 networks.

    A row holds 20 kernels, 20 expansions, 5 depths and the resolution. Of a block that does not exist, kernel and
    expansion are 0 in a settled row.
    """

    card: ClassVar[Card] = Card(
        name="ofa",
        says="Once-for-all MobileNetV3: kernels, expansions, depths and resolution.",
        paper="Cai et al., ICLR 2020",
        link="https://arxiv.org/abs/1908.09791",
    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """See `Space.sizes`."""
        return (3,) * (2 * BLOCKS + STAGES) + (len(RESOLUTIONS),)

    def settle(self, designs: Designs) -> Designs:
        """See `Space.settle`."""
        there = exists(designs)
        return np.where(np.concatenate([there, there, np.ones((len(designs), 6), bool)], 1), designs, 0)

    @property
    def gates(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Space.gates`: third and fourth block of a stage exist if its depth says so."""
        columns = sum(self.sizes)
        matrix, always = np.zeros((columns, columns), np.float32), np.ones(columns, np.float32)
        for i in range(BLOCKS):
            if i % 4 < 2:
                continue
            depth = 6 * BLOCKS + 3 * (i // 4)
            own = [*range(3 * i, 3 * i + 3), *range(3 * (BLOCKS + i), 3 * (BLOCKS + i) + 3)]
            always[own] = 0
            for enough in range(
                i % 4 - 1, 3
            ):  # depths are 2, 3, 4: block 2 needs the second, block 3 the third
                matrix[depth + enough, own] = 1
        return matrix, always

    def decode(self, design: Designs) -> Mapping[str, Any]:
        """See `Space.decode`: `ks`, `e`, `d` and `r` as OFA names them; 0 for blocks that do not exist."""
        there = exists(design[None])[0]
        return {
            "ks": [KERNELS[int(k)] if t else 0 for k, t in zip(design[:20], there, strict=True)],
            "e": [EXPANSIONS[int(k)] if t else 0 for k, t in zip(design[20:40], there, strict=True)],
            "d": [DEPTHS[int(k)] for k in design[40:45]],
            "r": RESOLUTIONS[int(design[45])],
        }

    def encode(self, described: Mapping[str, Any]) -> Designs:
        """See `Space.encode`; `ks` and `e` of blocks that do not exist are not looked at."""
        ks, e, d = (list(described.get(key, ())) for key in ("ks", "e", "d"))
        if (len(ks), len(e), len(d)) != (BLOCKS, BLOCKS, STAGES):
            raise BadValue("lengths of ks, e and d", (len(ks), len(e), len(d)), "20, 20 and 5")
        depths = [option("depth", x, DEPTHS) for x in d]
        there = [i % 4 < depths[i // 4] + 2 for i in range(BLOCKS)]
        kernels = [option("kernel", x, KERNELS) if t else 0 for x, t in zip(ks, there, strict=True)]
        expansions = [option("expansion", x, EXPANSIONS) if t else 0 for x, t in zip(e, there, strict=True)]
        return row([*kernels, *expansions, *depths, option("resolution", described.get("r"), RESOLUTIONS)])


def exists(designs: Designs) -> Any:
    """`(n, 20)` bool: which blocks a design has."""
    return np.tile(np.arange(4), STAGES) < np.repeat(designs[:, 40:45] + 2, 4, axis=1)
