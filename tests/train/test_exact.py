# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgeshift.train.exact import bf16_pays, faster, has_bf16, repeatable, takes_channels_last


def test_everything_is_put_back() -> None:
    torch.manual_seed(3)
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
    )

    def inside() -> None:
        with repeatable(before[0] + 1):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == before[0] + 1
            torch.rand(3)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        inside()
    after = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
    )
    assert after == before


class Clock:
    """Time that passes only while work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Callable[[], None]:
        """Work that takes these times in turn, the last one for ever."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.mark.parametrize(
    ("plain", "other", "answer"),
    [(4.0, 1.0, True), (1.0, 4.0, False), (1.0, 1.0, False), (1.05, 1.0, False), (1.2, 1.0, True)],
)
def test_only_a_gain_of_a_tenth_counts(plain: float, other: float, answer: bool) -> None:
    clock = Clock()
    assert faster(clock.work(plain), clock.work(other), clock) is answer


def test_the_first_call_and_a_busy_moment_do_not_count() -> None:
    clock = Clock()
    assert faster(clock.work(0.1, 4.0), clock.work(50.0, 9.0, 9.0, 2.0), clock)


def test_bf16_is_tried_by_training_steps() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    assert bf16_pays(model, torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])) in (True, False)
    assert all(p.grad is not None for p in model.parameters())


def test_hardware_is_asked_not_guessed() -> None:
    flags = torch.cpu.get_capabilities()
    if not any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        assert not has_bf16()


@pytest.mark.parametrize(
    ("conv", "good"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), False),
        (nn.Conv2d(7, 8, 1, stride=(1, 2)), False),
        (nn.Conv2d(8, 8, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1), True),
        (nn.Conv2d(4, 8, 3, stride=2), True),
        (nn.Linear(4, 8), True),
    ],
)
def test_a_narrow_strided_1x1_convolution_is_not_trained_with_channels_last(
    conv: nn.Module, good: bool
) -> None:
    assert takes_channels_last(nn.Sequential(nn.Conv2d(3, 16, 3), conv)) == good
