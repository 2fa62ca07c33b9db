# SPDX-License-Identifier: Apache-2.0
"""Cut the trained network to each level at once, then tune what is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.train.cut import cut_of
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run


@dataclass(frozen=True)
class OneShot(Method):
    """Every level starts from the weights of level 0, is cut once over all layers, and trained on.

    Attributes:
        criterion: Name of a criterion.
        pattern: Name of a pattern.
        exclude: Globs over parameter names that stay whole.
        criterion_options: Options of the criterion.
        pattern_options: Options of the pattern.
    """

    card: ClassVar[Card] = Card(
        name="one_shot",
        says="Cut the trained network to each level at once, then tune it.",
        paper="Han et al., NeurIPS 2015",
        link="https://arxiv.org/abs/1506.02626",
        needs="training",
    )

    criterion: str = "magnitude"
    pattern: str = "unstructured"
    exclude: tuple[str, ...] = ()
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`."""
        super().check(levels)
        cut_of(self).check()

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if run.first is not None:
            run.model.load_state_dict(run.first.state)
        run.set_masks(cut_of(self).masks(run.model, run.kept, run.task.groups))

    def settled(self, run: Run) -> bool:
        """See `Method.settled`."""
        return True
