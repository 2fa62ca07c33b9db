# SPDX-License-Identifier: Apache-2.0
"""Cut a little every few steps while training goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.sparsity import SCHEDULES
from edgeshift.sparsity.schedules.shape import Schedule
from edgeshift.train.cut import cut_of
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run


@dataclass(frozen=True)
class GradualMagnitude(Method):
    """Each level goes on from the one before and is cut along a schedule; what is cut stays cut.

    The paper cuts every 100 steps; here the number of cuts is given, so that short levels work too.

    Attributes:
        criterion: Name of a criterion.
        pattern: Name of a pattern.
        schedule: Name of a schedule, from the level before to this one.
        ramp: Share of the level's steps after which the last cut is made, above 0 and at most 1.
        cuts: Number of cuts in a level; fewer if there are fewer steps.
        exclude: Globs over parameter names that stay whole.
        criterion_options: Options of the criterion.
        pattern_options: Options of the pattern.
    """

    card: ClassVar[Card] = Card(
        name="gradual_magnitude",
        says="Cut along a cubic schedule while training goes on from level to level.",
        paper="Zhu and Gupta, ICLR workshop 2018",
        link="https://arxiv.org/abs/1710.01878",
        needs="training",
    )

    criterion: str = "magnitude"
    pattern: str = "unstructured"
    schedule: str = "cubic"
    ramp: float = 0.75
    cuts: int = 16
    exclude: tuple[str, ...] = ()
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.ramp <= 1:
            raise BadValue("ramp", self.ramp, "above 0 and at most 1")
        if self.cuts < 1:
            raise BadValue("cuts", self.cuts, "at least 1")

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`."""
        super().check(levels)
        cut_of(self).check()
        SCHEDULES.find(self.schedule)

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if run.previous is None:
            run.set_masks(cut_of(self).masks(run.model, run.kept, run.task.groups))
            return
        if run.steps < 1:
            raise BadValue(
                "epochs", run.training.epochs, "at least 1; gradual_magnitude cuts while it trains"
            )
        run.model.load_state_dict(run.previous.state)
        run.set_masks({n: torch.from_numpy(m) for n, m in run.previous.masks.tensors.items()})

    def after_step(self, run: Run) -> None:
        """See `Method.after_step`; cuts when its step has come."""
        if run.previous is None:
            return
        ramp = self.end(run)
        cuts = min(self.cuts, ramp)
        due, before = run.step * cuts // ramp, (run.step - 1) * cuts // ramp
        if run.step > ramp or due == before:
            return
        schedule: Schedule = SCHEDULES.make(self.schedule)
        start = run.previous.kept
        keep = run.kept if due == cuts else start * schedule.keep(due, cuts, run.kept / start)
        run.set_masks(cut_of(self).masks(run.model, keep, run.task.groups, within=run.masking.masks()))

    def end(self, run: Run) -> int:
        """The step after which masks are final."""
        return max(1, round(self.ramp * run.steps))

    def settled(self, run: Run) -> bool:
        """See `Method.settled`."""
        return run.previous is None or run.step >= self.end(run)
