# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from edgeshift.core.progress import Silent
from edgeshift.core.values import ChannelGroup
from edgeshift.graph import channel_groups
from edgeshift.train import METHODS, Level, Task, Training, run_levels
from edgeshift.train.channels import row_masks
from edgeshift.train.macs import counted
from edgeshift.train.masking import Masking
from edgeshift.train.narrow import Narrow, agree
from edgeshift.train.run import Run
from tests.train.conftest import groups, tiny

IMAGES = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
GROUPS = groups()


def masked(first: int, second: int) -> tuple[nn.Module, Masking]:
    """The tiny network with that many channels of either group left, the last ones; statistics not those of birth."""
    model = tiny()
    for _ in range(3):
        model.train()(IMAGES)
    masking = Masking(model)
    chosen = {"0": torch.arange(8) >= 8 - first, "3": torch.arange(16) >= 16 - second}
    masking.set_(row_masks(chosen, GROUPS, {n: p.shape for n, p in model.named_parameters()}))
    return model, masking


def narrow_of(model: nn.Module, masking: Masking, found: tuple[ChannelGroup, ...] = GROUPS) -> Narrow | None:
    return Narrow.of(model, masking.tensors, found, counted(model, IMAGES[:1], found))


def test_only_live_rows_and_columns_are_computed() -> None:
    model, masking = masked(3, 5)
    narrow = narrow_of(model, masking)
    assert narrow is not None
    shapes = {n: tuple(narrow.selected(n, p).shape) for n, p in model.named_parameters()}
    assert shapes == {
        "0.weight": (3, 1, 3, 3),
        "1.weight": (3,),
        "1.bias": (3,),
        "3.weight": (5, 3, 3, 3),
        "4.weight": (5,),
        "4.bias": (5,),
        "9.weight": (10, 20),
        "9.bias": (10,),
    }


def test_what_a_strided_1x1_convolution_reads_never_falls_below_what_torch_can_train() -> None:
    # With fewer than 8 inputs and channels last, its backward pass writes past its buffers; the process died of it.
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 12, 1, stride=2, bias=False),
        nn.BatchNorm2d(12),
        nn.Flatten(),
        nn.Linear(12 * 16, 10),
    )
    found = channel_groups(model.eval(), IMAGES[:2])
    masking = Masking(model)
    # The first 5 of 16 and of 12 channels stay.
    chosen = {g.name: torch.arange(g.channels) < 5 for g in found}
    masking.set_(row_masks(chosen, found, {n: p.shape for n, p in model.named_parameters()}))
    narrow = narrow_of(model, masking, found)
    assert narrow is not None
    shapes = {n: tuple(narrow.selected(n, model.get_parameter(n)).shape) for n in ("0.weight", "3.weight")}
    # Only what is read by the convolution keeps three dead ones.
    assert shapes == {"0.weight": (8, 1, 3, 3), "3.weight": (5, 8, 1, 1)}
    assert agree(model, lambda: model(IMAGES), lambda: narrow.run(model, IMAGES))


def test_a_step_gives_the_gradients_and_statistics_of_the_masked_network() -> None:
    seen = []
    for small in (False, True):
        model, masking = masked(3, 5)
        narrow = narrow_of(model, masking)
        assert narrow is not None
        model.train()
        model[8].p = 0.0  # dropout draws for each network's own sizes
        outputs = narrow.run(model, IMAGES) if small else model(IMAGES)
        outputs.square().sum().backward()
        masking.mask_gradients_()
        alive = {n: narrow.selected(n, b) for n, b in model.named_buffers() if n in narrow.rows}
        assert len(alive) == 4
        seen.append(
            (outputs, {n: p.grad for n, p in model.named_parameters()}, alive, dict(model.named_buffers()))
        )
    (whole, gradients, measured, _), (narrowed, others, also, buffers) = seen
    torch.testing.assert_close(narrowed, whole, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-4, msg=name)
    torch.testing.assert_close(also, measured, rtol=1e-4, atol=1e-5)
    assert int(buffers["1.num_batches_tracked"]) == 4


def test_what_is_hardly_smaller_is_left_as_it_is() -> None:
    assert narrow_of(*masked(8, 16)) is None
    assert narrow_of(*masked(8, 8)) is not None


def test_a_network_whose_code_states_its_widths_is_left_as_it_is() -> None:
    """A depthwise convolution holds its number of groups beside its weight."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    rows = torch.arange(8).numpy()[:, None]
    read = torch.arange(128).numpy().reshape(8, 16)
    group = ChannelGroup("0", {"0.weight": rows, "1.weight": rows}, 0.0, columns={"3.weight": read})
    masking = Masking(model)
    masking.set_(
        row_masks({"0": torch.arange(8) < 4}, (group,), {n: p.shape for n, p in model.named_parameters()})
    )
    narrow = narrow_of(model, masking, (group,))
    assert narrow is not None
    assert not agree(model, lambda: model(IMAGES), lambda: narrow.run(model, IMAGES))
    assert model.training


def test_networks_are_compared_in_float32_even_while_bf16_is_trained() -> None:
    model, masking = masked(4, 5)
    narrow, seen = narrow_of(model, masking), []
    assert narrow is not None

    def whole() -> torch.Tensor:
        seen.append(model(IMAGES))
        return seen[-1]

    with torch.autocast("cpu", torch.bfloat16):
        assert model(IMAGES).dtype == torch.bfloat16
        assert agree(model, whole, lambda: narrow.run(model, IMAGES))
    assert [outputs.dtype for outputs in seen] == [torch.float32]


def test_a_channel_that_is_not_zero_after_its_norm_stays() -> None:
    model, masking = masked(3, 5)
    left = {n: m for n, m in masking.tensors.items() if n != "1.bias"}
    with torch.no_grad():
        model[1].bias.fill_(1.0)
    masking.tensors = left
    narrow = narrow_of(model, masking)
    assert narrow is not None
    assert "0.weight" not in narrow.rows
    assert "3.weight" in narrow.rows


@pytest.mark.parametrize(
    ("method", "options", "epochs"),
    [
        ("one_shot", {"pattern": "channel"}, 2),
        ("iterative_magnitude", {"pattern": "channel", "rewind": "none"}, 2),
        ("gradual_magnitude", {"pattern": "channel", "ramp": 0.3}, 2),
        ("soft_masking", {"multiple": 2, "warmup": 0.0, "ramp": 0.3}, 2),
        ("network_slimming", {"l1": 1e-3}, 2),
        ("scratch", {"pattern": "channel"}, 2),
    ],
)
def test_a_level_comes_out_as_if_dead_channels_had_been_computed(
    method: str,
    options: dict[str, object],
    epochs: int,
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without dropout, whose draws depend on sizes; float32 adds up in another order."""

    def calm() -> nn.Module:
        model = tiny()
        model[8].p = 0.0
        return model

    quiet = Task(calm, task.train, task.validation, task.mean, task.std, task.groups)
    training = Training(epochs=epochs, batch_size=64, lr=0.02, warmup_epochs=0.5, threads=1, bf16="off")

    def levels(folder: str) -> list[Level]:
        made = METHODS.make(method, **options)
        return list(run_levels(made, quiet, training, (1.0, 0.4), tmp_path / folder, Silent()))

    used = []
    of = Narrow.of.__func__  # type: ignore[attr-defined]  # of the class method
    monkeypatch.setattr(Narrow, "of", classmethod(lambda *a: used.append(of(*a)) or used[-1]))
    small = levels("small")
    assert any(used), "the smaller network was trained"
    monkeypatch.setattr(Run, "settle", lambda self, images: setattr(self, "settled", True) or True)
    whole = levels("whole")
    for one, other in zip(small, whole, strict=True):
        for name, tensor in one.state.items():
            owner, _, leaf = name.rpartition(".")  # nobody reads what a dead channel measures
            alive = (
                one.state[f"{owner}.weight"] != 0
                if "running" in leaf
                else torch.ones_like(tensor, dtype=torch.bool)
            )
            torch.testing.assert_close(
                tensor[alive], other.state[name][alive], rtol=2e-2, atol=2e-3, msg=name
            )


def test_a_run_says_that_it_computes_dead_channels_too(task: Task, tmp_path: Path) -> None:
    def depthwise() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(1, 8, 3, bias=False),
                nn.Conv2d(8, 8, 3, groups=8, bias=False),
                nn.Flatten(),
                nn.Linear(128, 10),
            )

    class Heard(Silent):
        said: ClassVar[list[str]] = []

        def say(self, line: str) -> None:
            self.said.append(line)

    rows = torch.arange(8).numpy()[:, None]
    read = torch.arange(128).numpy().reshape(8, 16)
    group = ChannelGroup("0", {"0.weight": rows, "1.weight": rows}, 1.0, columns={"3.weight": read})
    own = Task(depthwise, task.train, task.validation, task.mean, task.std, (group,))
    training = Training(epochs=1, batch_size=64, lr=0.02, threads=1, bf16="off")
    made = METHODS.make("one_shot", pattern="channel")
    list(run_levels(made, own, training, (1.0, 0.5), tmp_path, Heard()))
    assert any("dead channels are computed too" in line for line in Heard.said)
