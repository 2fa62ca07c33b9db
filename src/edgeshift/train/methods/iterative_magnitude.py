# SPDX-License-Identifier: Apache-2.0
"""Train, cut a little, wind the weights back, train again: DNNShifter's way to a sparse portfolio."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.train.cut import cut_of
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run, copied

REWINDS = ("weights", "none")


@dataclass(frozen=True)
class IterativeMagnitude(Method):
    """Each level is cut from the one before, inside its masks, and every level is a candidate variant.

    With `rewind="weights"` what is left returns to its values at step `rewind_steps` of level 0, batch-norm
    statistics included, and the level is trained from that step on, as in the paper; momentum starts at zero.

    Attributes:
        criterion: Name of a criterion.
        pattern: Name of a pattern.
        rewind: "weights", or "none" to tune the cut weights on.
        rewind_steps: Step of level 0 to return to; 0 = the factory's weights.
        exclude: Globs over parameter names that stay whole, such as the classifier's.
        criterion_options: Options of the criterion.
        pattern_options: Options of the pattern.
    """

    card: ClassVar[Card] = Card(
        name="iterative_magnitude",
        says="Train, cut a little, wind the weights back, train again; every level is a variant.",
        paper="Frankle et al., ICML 2020",
        link="https://arxiv.org/abs/1912.05671",
        needs="training",
    )

    criterion: str = "magnitude"
    pattern: str = "unstructured"
    rewind: str = "weights"
    rewind_steps: int = 0
    exclude: tuple[str, ...] = ()
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rewind not in REWINDS:
            raise BadValue("rewind", self.rewind, f"one of {', '.join(REWINDS)}")
        if self.rewind_steps < 0 or (self.rewind_steps and self.rewind == "none"):
            raise BadValue("rewind_steps", self.rewind_steps, '0 or more, and 0 with rewind "none"')

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`."""
        super().check(levels)
        cut_of(self).check()

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if self.rewind_steps and self.rewind_steps >= run.steps:
            raise BadValue(
                "rewind_steps", self.rewind_steps, f"below the {run.steps} steps of level {run.index}"
            )
        if run.previous is None:
            run.set_masks(cut_of(self).masks(run.model, run.kept, run.task.groups))
            return
        run.model.load_state_dict(run.previous.state)
        masks = cut_of(self).masks(run.model, run.kept, run.task.groups, within=run.previous.masks)
        if self.rewind == "weights":
            run.model.load_state_dict(run.memory if self.rewind_steps else run.fresh)
            run.step = self.rewind_steps
        run.set_masks(masks)

    def settled(self, run: Run) -> bool:
        """See `Method.settled`."""
        return True

    def after_step(self, run: Run) -> None:
        """See `Method.after_step`; remembers the weights to return to."""
        if run.index == 0 and self.rewind_steps and run.step == self.rewind_steps:
            run.memory.update(copied(run.model.state_dict()))
