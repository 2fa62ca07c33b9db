# SPDX-License-Identifier: Apache-2.0
"""What a training step costs once masks are settled: the masked network against the smaller one that it is.

    python -m bench.train.narrow                  # about two minutes of one core

Steps of both in turns, processor time, one thread, batches of 256 random images; counted is the share of
multiply-accumulates that the masks leave. CPUs without bf16 instructions take float32.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from bench.record import Run, keep, table
from edgeshift.graph import channel_groups
from edgeshift.models import build, example, resolve
from edgeshift.train.channels import Prices, is_stream, row_masks
from edgeshift.train.exact import has_bf16
from edgeshift.train.macs import counted
from edgeshift.train.masking import Masking
from edgeshift.train.methods.all_in_one import widths_within
from edgeshift.train.narrow import Narrow, agree

# Network -> shares of the multiply-accumulates, multiple of widths.
CASES = {"vgg16_bn": ((0.5, 0.18), 16), "resnet20": ((0.5, 0.25), 4), "resnet56": ((0.5, 0.25), 4)}
BATCH, ROUNDS = 256, 5


def stepped(model: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """Seconds of one forward and backward pass."""
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
        loss = nn.functional.cross_entropy(forward(images), labels)
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return time.process_time() - start


def row(network: str, share: float, multiple: int, rounds: int) -> dict[str, Any]:
    """One network at one share; residual streams stay whole."""
    ref = resolve(network, classes=10, input_shape=(3, 32, 32))
    model, sample = build(ref, seed=0), example(ref)
    groups = channel_groups(model.eval(), sample)
    macs = counted(model, sample[:1], groups)
    free = tuple(g for g in groups if not is_stream(g, macs.shapes))
    kept = widths_within(Prices(macs), free, share, multiple, 0.0)
    chosen = {g.name: torch.arange(g.channels) < kept[g.name] for g in free}
    masking = Masking(model)
    masking.set_(row_masks(chosen, free, {n: p.shape for n, p in model.named_parameters()}))
    images = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10
    model = model.to(memory_format=torch.channels_last).train()
    narrow = Narrow.of(model, masking.tensors, groups, macs)
    assert narrow is not None
    assert agree(model, lambda: model(images[:8]), lambda: narrow.run(model, images[:8]))
    ways: tuple[Callable[[Tensor], Tensor], ...] = (model, partial(narrow.run, model))
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for way, found in zip(ways, times, strict=True):
            seconds = stepped(model, way, images, labels)
            if turn:
                found.append(seconds)
    masked, small = map(median, times)
    return {
        "network": network,
        "counted": round(macs.of_masks(masking.tensors) / macs.dense, 3),
        "masked_s": round(masked, 3),
        "narrow_s": round(small, 3),
        "faster": round(masked / small, 2),
    }


def main() -> None:
    """Time, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 1 if asked.quick else ROUNDS
    rows = [row(n, s, multiple, rounds) for n, (shares, multiple) in CASES.items() for s in shares]
    print(table(rows, list(rows[0])))
    findings = [
        f"{r['network']} at {r['counted']} of its multiply-accumulates: a step {r['faster']} times faster."
        for r in rows
    ]
    if not asked.quick:
        says = "A training step under settled channel masks: whole tensors against the live ones."
        repeats = f"{ROUNDS} in turns, processor time, bf16: {has_bf16()}"
        keep(Run("train_narrow", says, repeats=repeats, spread="not kept"), rows, findings)


if __name__ == "__main__":
    main()
