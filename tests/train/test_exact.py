# SPDX-License-Identifier: Apache-2.0
import time

import pytest
import torch
from torch import nn

from edgeshift.train.exact import bf16_pays, faster, has_bf16, repeatable


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


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize(("plain", "other", "answer"), [(0.004, 0.001, True), (0.001, 0.004, False)])
def test_the_faster_of_two_is_found(plain: float, other: float, answer: bool) -> None:
    assert faster(lambda: spin(plain), lambda: spin(other)) is answer


def test_a_gain_within_the_noise_does_not_count() -> None:
    assert not faster(lambda: spin(0.0041), lambda: spin(0.004))


def test_bf16_is_tried_by_training_steps() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    assert bf16_pays(model, torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])) in (True, False)
    assert all(p.grad is not None for p in model.parameters())


def test_hardware_is_asked_not_guessed() -> None:
    flags = torch.cpu.get_capabilities()
    if not any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        assert not has_bf16()
