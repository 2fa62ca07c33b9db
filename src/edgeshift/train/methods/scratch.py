# SPDX-License-Identifier: Apache-2.0
"""Train the architectures that another method found from random weights: what the inherited ones are worth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from edgeshift.core.card import Card
from edgeshift.core.errors import BadValue
from edgeshift.core.seeds import seed_for
from edgeshift.train.checkpoint import Folder
from edgeshift.train.cut import cut_of
from edgeshift.train.methods.shape import Method
from edgeshift.train.run import Run

BUDGETS = ("epochs", "macs")


@dataclass(frozen=True)
class Scratch(Method):
    """Every level but the dense first is a masked network with weights drawn anew.

    The masks are those of the levels in the folder `found`, of the same kept fractions; without one they are
    cut from the trained level 0. A paper that compares pruning with training from scratch owes this baseline.

    Attributes:
        found: Folder of another run's levels, such as `build/mine/work/levels`; empty = none.
        budget: "epochs" = as many as any level (Scratch-E), "macs" = so many more as the network is cheaper
            than the dense one (Scratch-B).
        most: At most that many times the epochs, with "macs".
        criterion: Name of a criterion, without `found`.
        pattern: Name of a pattern, without `found`.
        exclude: Globs over parameter names that stay whole, without `found`.
        criterion_options: Options of the criterion.
        pattern_options: Options of the pattern.
    """

    card: ClassVar[Card] = Card(
        name="scratch",
        says="The architectures another method found, trained from random weights under the same budget.",
        paper="Liu et al., ICLR 2019",
        link="https://arxiv.org/abs/1810.05270",
        needs="training",
    )

    found: str = ""
    budget: str = "epochs"
    most: float = 20.0
    criterion: str = "magnitude"
    pattern: str = "unstructured"
    exclude: tuple[str, ...] = ()
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise BadValue("budget", self.budget, f"one of {', '.join(BUDGETS)}")
        if not 1 <= self.most < math.inf:
            raise BadValue("most", self.most, "at least 1")

    def check(self, levels: tuple[float, ...]) -> None:
        """See `Method.check`; every level must be in the folder."""
        super().check(levels)
        cut_of(self).check()
        for path in self.reads():
            if not path.exists():
                raise BadValue("found", self.found, "a folder of levels that another build left")
        if self.found:
            for index in range(1, len(levels)):
                if not self.path(index).exists():
                    raise BadValue(
                        "found", self.found, f"a folder of levels with {self.path(index).name} in it"
                    )

    def reads(self) -> tuple[Path, ...]:
        """See `Method.reads`; the key in that record stands for all that decided the other run."""
        return (Path(self.found) / "run.json",) if self.found else ()

    def path(self, index: int) -> Path:
        """The record of one level of the other run."""
        return Path(self.found) / f"level-{index:02d}.json"

    def begin(self, run: Run) -> None:
        """See `Method.begin`."""
        if run.first is None:
            run.set_masks(cut_of(self).masks(run.model, run.kept, run.task.groups))
            return
        if self.found:
            level = Folder(Path(self.found)).read_level(run.index, run.kept)
            assert level is not None
            masks = {name: torch.from_numpy(mask) for name, mask in level.masks.tensors.items()}
        else:
            run.model.load_state_dict(run.first.state)
            masks = cut_of(self).masks(run.model, run.kept, run.task.groups)
        redraw_(run.model, seed_for(run.training.seed, "scratch", run.index))
        run.set_masks(masks)
        if self.budget == "macs":
            times = min(self.most, run.macs.dense / max(run.live_macs(), 1.0))
            run.steps = math.ceil(times * run.steps / run.steps_per_epoch) * run.steps_per_epoch

    def settled(self, run: Run) -> bool:
        """See `Method.settled`."""
        return True


def redraw_(model: nn.Module, seed: int) -> None:
    """Draw every parameter and statistic of a model anew, in place, as its modules are drawn when built.

    Raises:
        BadValue: If a parameter belongs to a module without `reset_parameters`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in model.named_modules():
            own = [n for n, _ in module.named_parameters(recurse=False)]
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif own:
                raise BadValue("model", f"{name}.{own[0]}", "one whose modules all have reset_parameters")
