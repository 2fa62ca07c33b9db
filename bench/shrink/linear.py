# SPDX-License-Identifier: Apache-2.0
"""Does the cost of a shrink grow with the parameters and no faster? Time per parameter, and memory over the model's.

    python -m bench.shrink.linear [--millions 1 4 16 64 300] [--prove 16 64]

Wide families hold their number of layers, deep ones the size of a layer. Each run has a process of its own.
Memory is the peak of the resident set while a shrink runs, less what the process held before the model was built.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.networks import Site, plant_
from bench.record import Run, keep, table
from bench.shrink.subjects import ZOO, one_thread, parameters
from edgeshift.graph.exact import shrink_traced, traced
from edgeshift.models import build, resolve

SHARE = 0.6
SEED = 0
REPEATS = 3
MILLIONS = (1.0, 4.0, 16.0, 64.0, 300.0)
COLUMNS = (
    *(
        "family",
        "millions",
        "parameters",
        "parameters_after",
        "trace_s",
        "cut_s",
        "spread",
        "ns_per_parameter",
    ),
    *("model_mb", "peak_mb", "peak_over_model", "trace_peak_over_model", "proved"),
)


class Up(nn.Module):
    """Two linear layers, 1024 units between."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(512, 1024), nn.Linear(1024, 512)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions of 256 channels around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256)
        self.conv2, self.bn2 = nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def wide_mlp(count: float) -> nn.Module:
    """Six square layers."""
    width = round((count / 6) ** 0.5)
    layers = [nn.Linear(width, width) for _ in range(6)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])


def wide_vgg(count: float) -> nn.Module:
    """VGG-16 with every width multiplied."""
    widths = [max(8, round(w * (count / 14.7e6) ** 0.5)) for w in (64, 128, 256, 512, 512)]
    return build(resolve("vgg16_bn", options={"widths": widths}))


def deep(kind: type[nn.Module]) -> Callable[[float], nn.Module]:
    """As many blocks as make the count."""
    return lambda count: nn.Sequential(*[kind() for _ in range(max(1, round(count / parameters(kind()))))])


@dataclass(frozen=True)
class Family:
    """One way to grow.

    Attributes:
        build: Number of parameters -> network.
        shape: Of its input, without the batch; None = one row as wide as the first layer.
        sites: Where dead channels are planted.
    """

    build: Callable[[float], nn.Module]
    shape: tuple[int, ...] | None
    sites: tuple[Site, ...]


FAMILIES = {
    "wide mlp": Family(
        wide_mlp, None, tuple(Site("", writes=(str(2 * i),), reads=(str(2 * i + 2),)) for i in range(5))
    ),
    "wide vgg": Family(wide_vgg, (3, 32, 32), ZOO["vgg16_bn"]),
    "deep mlp": Family(deep(Up), (512,), (Site("*", writes=("up",), reads=("down",)),)),
    "deep resnet": Family(
        deep(Residual), (256, 4, 4), (Site("*", writes=("conv1", "bn1"), reads=("conv2",)),)
    ),
}


def resident(key: str) -> int:
    """Bytes of a line of `/proc/self/status`: "VmRSS" = held, "VmHWM" = the most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def forget_peak() -> None:
    """Begin a new peak."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def one(family: str, millions: float, prove_it: bool, repeats: int = REPEATS) -> dict[str, Any]:
    """Build, plant, trace and shrink in this process; seconds of a shrink are processor time."""
    chosen = FAMILIES[family]
    warm = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    shrink_traced(warm, *_graph(warm, (torch.zeros(2, 4),)), prove_it=True)  # what is loaded on first use
    gc.collect()
    before = resident("VmRSS")
    torch.manual_seed(SEED)
    model = chosen.build(millions * 1e6).eval()
    plant_(model, chosen.sites, SHARE, SEED)
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    first = next(model.parameters())
    inputs = (torch.randn(2, *(chosen.shape or (first.shape[1],))),)
    forget_peak()
    start = time.perf_counter()
    graph, prepare = traced(model, inputs)
    trace_s, trace_peak = time.perf_counter() - start, resident("VmHWM")
    forget_peak()
    seconds = []
    for turn in range(1 if prove_it else repeats):
        start = time.process_time()
        small = shrink_traced(model, graph, inputs, prepare=prepare, prove_it=prove_it)
        seconds.append(time.process_time() - start)
        if turn == 0:
            peak, left = resident("VmHWM"), parameters(small.model)
        del small
    count = parameters(model)
    return {
        "family": family,
        "millions": millions,
        "parameters": count,
        "parameters_after": left,
        "trace_s": trace_s,
        "cut_s": statistics.median(seconds),
        "spread": (max(seconds) - min(seconds)) / statistics.median(seconds),
        "ns_per_parameter": statistics.median(seconds) / count * 1e9,
        "model_mb": size / 2**20,
        "peak_mb": (peak - before) / 2**20,
        "peak_over_model": (peak - before) / size,
        "trace_peak_over_model": (trace_peak - before) / size,
        "proved": prove_it,
    }


def _graph(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
    return traced(model, inputs)[0], inputs


def apart(family: str, millions: float, prove_it: bool) -> dict[str, Any]:
    """`one` in a process of its own."""
    words = [sys.executable, "-m", "bench.shrink.linear", "--one", family, "--millions", str(millions)]
    words += ["--prove", "0"] if prove_it else []
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=alone)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def findings(rows: Sequence[dict[str, Any]], large: float = 16) -> list[str]:
    """What the rows say, in sentences."""
    found = []
    for family in dict.fromkeys(r["family"] for r in rows):
        here = [r for r in rows if r["family"] == family and not r["proved"]]
        per = [r["ns_per_parameter"] for r in here]
        if not here:
            continue
        big = [r for r in here if r["millions"] >= large]
        found.append(
            f"{family}: "
            + ", ".join(f"{r['millions']:g} M {r['ns_per_parameter']:.2f} ns" for r in here)
            + f" per parameter; most / least {max(per) / min(per):.2f}; memory over the model's from {large:g} M: "
            + ", ".join(f"{r['peak_over_model']:.2f}" for r in big)
            + "."
        )
    for r in rows:
        if r["proved"]:
            found.append(
                f"{r['family']}, {r['millions']:g} M with proof: {r['cut_s']:.1f} s, memory "
                f"{r['peak_over_model']:.2f} times the model's."
            )
    return found


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--one", help="one family in this process")
    options.add_argument("--millions", type=float, nargs="+", default=list(MILLIONS))
    options.add_argument("--prove", type=float, nargs="*", default=[16.0, 64.0])
    options.add_argument("--families", nargs="+", default=list(FAMILIES))
    chosen = options.parse_args()
    one_thread()
    if chosen.one:
        print(json.dumps(one(chosen.one, chosen.millions[0], chosen.prove == [0.0])))
        return
    rows = []
    for family in chosen.families:
        for prove_it, sizes in ((False, chosen.millions), (True, chosen.prove)):
            for millions in sizes:
                rows.append(apart(family, millions, prove_it))
                print(table(rows[-1:], COLUMNS), flush=True)
    print(table(rows, COLUMNS), *findings(rows), sep="\n")
    if chosen.families == list(FAMILIES) and chosen.millions == list(MILLIONS):
        says = "Seconds per parameter and peak memory of analysis and cut, 60 % of the channels planted dead."
        repeats = f"median of {REPEATS} in one process per row"
        keep(
            Run(
                "shrink_linear", says, seeds=(SEED,), repeats=repeats, spread="(largest - smallest) / median"
            ),
            rows,
            findings(rows),
        )


if __name__ == "__main__":
    main()
