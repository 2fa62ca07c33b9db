# SPDX-License-Identifier: Apache-2.0
"""A stretch of torch that gives the same bytes each time, and the trial that decides on bf16."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

# Timed steps per candidate; the fastest of each counts, so that a busy moment does not decide.
TRIALS = 5
# bf16 costs accuracy, so it must gain more than timing noise between two runs of the same step (up to 10 %).
GAIN = 1.1
# Input channels from which a strided 1x1 convolution with channels last is known to stay inside its buffers.
NARROW = 8


@contextmanager
def repeatable(threads: int, device: str = "cpu") -> Iterator[None]:
    """Deterministic kernels, a fixed thread count and a random state of its own; all put back afterwards.

    On a GPU kernels are chosen by a trial instead: some that training needs have no deterministic form there.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]  # set by its module
        torch.backends.cudnn.benchmark,
    )
    exact = device == "cpu"
    with torch.random.fork_rng(devices=[] if exact else [torch.cuda.current_device()]):
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(exact)
        torch.backends.cudnn.benchmark = not exact
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time only
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1], warn_only=before[2])
            torch.utils.deterministic.fill_uninitialized_memory = before[3]  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = before[4]


def takes_channels_last(model: nn.Module) -> bool:
    """Whether a model can be trained with channels last in memory.

    torch 2.13 on x86 writes past its buffers in the backward pass of a 1x1 convolution with a stride and fewer
    than `NARROW` input channels in that order: the process dies sooner or later, or trains on garbage.
    """
    return not any(m.in_channels < NARROW for m in strided_points(model).values())


def strided_points(model: nn.Module) -> dict[str, nn.Conv2d | nn.Conv3d]:
    """Name -> 1x1 convolution with a stride."""
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d)}
    return {n: m for n, m in convs.items() if max(m.stride) > 1 and max(m.kernel_size) == 1}


def has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; emulation does not count."""
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def bf16_pays(model: nn.Module, images: Tensor, labels: Tensor) -> bool:
    """Whether a training step is at least `GAIN` times faster under bf16 autocast, measured on a copy.

    Args:
        model: A copy of the model to train; its gradients and statistics change.
        images: One batch as the loop makes them.
        labels: Its labels.
    """

    def step(*, bf16: bool) -> Callable[[], None]:
        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = functional.cross_entropy(model(images).float(), labels)
            loss.backward()  # type: ignore[no-untyped-call]

        return run

    model.train()
    return faster(step(bf16=False), step(bf16=True))


def faster(
    plain: Callable[[], None], other: Callable[[], None], clock: Callable[[], float] = time.perf_counter
) -> bool:
    """Whether `other` takes at most 1 / `GAIN` of the time of `plain`; both run in turn."""
    best = [float("inf"), float("inf")]
    for trial in range(TRIALS + 1):
        for k, run in enumerate((plain, other)):
            start = clock()
            run()
            if trial:  # the first round warms up
                best[k] = min(best[k], clock() - start)
    return best[1] * GAIN <= best[0]
