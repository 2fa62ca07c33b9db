# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeshift.core.errors import BadValue
from edgeshift.core.progress import Silent
from edgeshift.core.values import ChannelGroup
from edgeshift.train import Task, Training, run_levels
from edgeshift.train.channels import Prices, choose_channels, is_stream
from edgeshift.train.macs import Macs
from edgeshift.train.methods.soft_masking import SoftMasking
from edgeshift.train.run import Run
from tests.train.methods.watch import watched

OPTIONS = {"multiple": 1, "every": 1, "decay": 0.05}


@pytest.mark.parametrize("relative", [False, True])
def test_the_cost_ends_in_the_budget(task: Task, training: Training, tmp_path: Path, relative: bool) -> None:
    costs = {}

    def look(run: Run) -> None:
        costs[run.index] = run.macs.of_masks(run.masking.tensors) / run.macs.dense

    watched("soft_masking", look, task, training, (1.0, 0.5, 0.25), tmp_path, **OPTIONS, relative=relative)
    assert costs[0] == 1
    assert 0.5 - 0.1 < costs[1] <= 0.5  # a channel of this tiny network is up to a tenth of its cost
    assert 0.25 - 0.1 < costs[2] <= 0.25


def test_hard_masks_compute_what_soft_ones_did(task: Task, training: Training, tmp_path: Path) -> None:
    differences = []

    class Looking(SoftMasking):
        """Compares the network before and after its masks become hard."""

        def harden(self, run: Run) -> None:
            images = torch.randn(5, 1, 8, 8)
            run.model.eval()
            before = self.forward(run, images)
            super().harden(run)
            differences.append(float((before - self.forward(run, images)).detach().abs().max()))
            run.model.train()

    list(run_levels(Looking(**OPTIONS), task, training, (1.0, 0.5, 0.25), tmp_path, Silent()))  # type: ignore[arg-type]
    assert differences == pytest.approx([0, 0], abs=1e-5)


def test_pruned_channels_return_unless_they_may_not(task: Task, training: Training, tmp_path: Path) -> None:
    counts = {}
    for permanent in (False, True):
        _, seen = watched(
            "soft_masking",
            lambda run: int(run.memory.get("returned", torch.tensor(0))),
            task,
            training,
            (1.0, 0.4),
            tmp_path / str(permanent),
            **OPTIONS,
            permanent=permanent,
        )
        counts[permanent] = seen[1][-1]
    assert counts[False] >= 1
    assert counts[True] == 0


def test_readers_of_a_masked_channel_keep_learning(task: Task, training: Training, tmp_path: Path) -> None:
    learnt = []

    class Looking(SoftMasking):
        """Looks at gradients under soft masks."""

        def before_step(self, run: Run) -> None:
            for name in ("3.weight", "9.weight"):
                mask = run.memory.get(f"soft/{name}")
                if mask is not None and not mask.all():
                    gone = ~mask.flatten()
                    learnt.append(bool(run.masking.parameters[name].grad[:, gone].any()))
            super().before_step(run)

    list(run_levels(Looking(**OPTIONS), task, training, (1.0, 0.4), tmp_path, Silent()))  # type: ignore[arg-type]
    assert learnt
    assert all(learnt)


def test_bad_options_are_refused() -> None:
    with pytest.raises(BadValue, match=r"warmup must be 0 to below the ramp's 0\.5, got 0\.5"):
        SoftMasking(warmup=0.5, ramp=0.5)
    with pytest.raises(BadValue, match="multiple must be at least 1, got 0"):
        SoftMasking(multiple=0)
    with pytest.raises(BadValue, match="relative must be false with survival, got True"):
        SoftMasking(relative=True, survival=True)


def test_a_table_that_is_none_is_refused(task: Task, training: Training, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"layers": {}}')
    method = SoftMasking(table=str(tmp_path / "t.json"))
    with pytest.raises(BadValue, match=r"table must be one with a cost for every layer; it lacks 0\.weight"):
        list(run_levels(method, task, training, (1.0, 0.5), tmp_path / "run", Silent()))


def test_a_group_pays_for_the_layers_that_make_it_too() -> None:
    # conv a: 1 -> 8 channels at 100 places, then a classifier 8 -> 2: a group that paid for its reader alone would
    # think of 16 multiply-accumulates, and never of the 800.
    group = ChannelGroup("a", {"a": np.arange(8)[:, None]}, 0.0, {"fc": np.arange(8)[:, None]})
    prices = Prices(Macs({"a": 800.0, "fc": 16.0}, {"a": (8, 1, 1, 1), "fc": (2, 8)}, (group,)))
    widths = prices.macs.widths({})
    assert prices.of_option(group, 8, widths, 8) == 816
    assert prices.of_option(group, 2, widths, 8) == 204
    chosen = choose_channels({"a": torch.arange(8.0)}, (group,), prices, 408, 1)
    assert chosen["a"].tolist() == [False] * 4 + [True] * 4


def test_a_stream_is_what_several_layers_make() -> None:
    rows = np.arange(4)[:, None]
    shapes = {"stem": (4, 3, 3, 3), "last": (4, 8, 3, 3), "depthwise": (4, 1, 3, 3)}
    assert is_stream(ChannelGroup("s", {"stem": rows, "bn": rows, "last": rows}, 0.0), shapes)
    assert not is_stream(ChannelGroup("a", {"stem": rows, "bn": rows, "depthwise": rows}, 0.0), shapes)


def test_survival_empties_no_group_for_being_dear() -> None:
    # Equal worth everywhere; a has 8 channels at 100, b has 64 at 25, and half of all may stay. The plain sum takes
    # the cheap ones: one channel of a. The product is highest where both get the same money: 6 of 8, 24 of 64.
    sizes = {"a": 8, "b": 64}
    groups = tuple(ChannelGroup(n, {n: np.arange(k)[:, None]}, 0.0) for n, k in sizes.items())
    prices = Prices(Macs({"a": 800.0, "b": 1600.0}, {n: (k, 1) for n, k in sizes.items()}, groups))
    worth = {n: torch.ones(k) for n, k in sizes.items()}
    plain, fair = (
        {n: int(c.sum()) for n, c in choose_channels(worth, groups, prices, 1200, 1, survival=s).items()}
        for s in (False, True)
    )
    assert plain == {"a": 1, "b": 44}
    assert fair == {"a": 6, "b": 24}


def test_relative_ranks_channels_against_the_mean_of_their_group() -> None:
    # a is cheap and has one channel that matters, so that the others go first, each at 0.31 of the mean or less; those
    # of b are all alike, at 1, and dear.
    groups = tuple(ChannelGroup(n, {n: np.arange(4)[:, None]}, 0.0) for n in "ab")
    prices = Prices(Macs({"a": 40.0, "b": 400.0}, dict.fromkeys("ab", (4, 1)), groups))
    worth = {"a": torch.tensor([1.0, 10, 1, 1]), "b": torch.ones(4)}

    def kept(budget: float) -> dict[str, list[int]]:
        chosen = choose_channels(worth, groups, prices, budget, 1, relative=True)
        return {n: c.nonzero().flatten().tolist() for n, c in chosen.items()}

    assert kept(440) == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}
    assert kept(430) == {"a": [0, 1, 2], "b": [0, 1, 2, 3]}
    assert kept(310) == {"a": [1], "b": [0, 1, 2]}
    with pytest.raises(
        BadValue, match="kept cost must be at least 110, what the smallest widths cost, got 100"
    ):
        choose_channels(worth, groups, prices, 100, 1, relative=True)
