# SPDX-License-Identifier: Apache-2.0
"""A portfolio as a build leaves it, with figures of the size that ResNet-20 has on CIFAR-10."""

import json
from dataclasses import replace
from pathlib import Path

from edgeshift.core.values import Measurement, ModelRef, Proof
from edgeshift.portfolio import Draft, Portfolio

LAYERS = ["conv1", *(f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in (0, 1, 2) for c in (1, 2)), "fc"]
FULL = [16, *[16] * 6, *[32] * 6, *[64] * 6, 10]
# Kept share, validation accuracy, test accuracy, latency in ms, peak memory in bytes.
LEVELS = (
    (1.0, 0.9264, 0.9210, 1.412, 41_300_000),
    (0.8, 0.9270, 0.9206, 1.221, 40_100_000),
    (0.64, 0.9258, 0.9195, 1.034, 39_200_000),
    (0.51, 0.9236, 0.9172, 1.071, 38_900_000),
    (0.41, 0.9202, 0.9149, 0.742, 37_600_000),
    (0.33, 0.9114, 0.9058, 0.585, 36_900_000),
    (0.26, 0.8930, 0.8881, 0.441, 36_200_000),
    (0.21, 0.8512, 0.8466, 0.349, 35_800_000),
)
DEVICE = "AMD EPYC 7763, 2 cores, AVX2"
RUNTIME = "onnxruntime 1.20.0"


def figures(ms: float, memory: int, size: int) -> tuple[Measurement, ...]:
    """Latency at two batch sizes, memory and file size."""
    timed = Measurement("latency", ms, "ms", device=DEVICE, runtime=RUNTIME, repeats=50, warmup=5)
    return (
        replace(timed, p95=ms * 1.12, spread=0.06),
        replace(timed, value=ms * 21, batch_size=32, repeats=20, p95=ms * 22.4, spread=0.03),
        Measurement("peak_memory", memory, "bytes", device=DEVICE, runtime=RUNTIME),
        Measurement("file_size", size, "bytes", device=DEVICE),
    )


def draft(name: str, level: int) -> Draft:
    """A variant of that level."""
    kept, validation, test, ms, memory = LEVELS[level]
    widths = {
        n: f if n == "fc" else max(1, round(f * kept ** (0.3 + 0.05 * (i % 7))))
        for i, (n, f) in enumerate(zip(LAYERS, FULL, strict=True))
    }
    parameters = round(272_474 * kept**1.1)
    return Draft(
        name=name,
        recipe={
            "train": {"method": "iterative_magnitude", "version": 1, "options": {"epochs": 30, "seed": 0}}
        },
        accuracy={"validation": validation, "test": test},
        parameters=parameters,
        macs=round(41_294_000 * kept**0.9),
        sparsity=1 - kept,
        widths=widths,
        measurements=figures(ms, memory, parameters * 4 + 21_000),
        proof=Proof(3.1e-16 * (level + 1), 2.4e-7, 8, ("random", "border", "constant"), 1e-9),
    )


def log(level: int, epochs: int = 30) -> bytes:
    """A training curve that ends at the level's validation accuracy."""
    rows = []
    for epoch in range(1, epochs + 1):
        share = 1 - 2.718 ** (-epoch / (3 + level))
        rows.append(
            {
                "epoch": epoch,
                "loss": round(2.3 * (1 - share) + 0.25 + 0.03 * level, 4),
                "accuracy": round(LEVELS[level][1] * share * 1.03, 4),
                "validation_accuracy": round(
                    LEVELS[level][1] * share - 0.01 * (epoch % 3 == 0) * (1 - share), 4
                ),
                "lr": 0.1 * (1 - epoch / (epochs + 1)),
                "seconds": 1.5,
            }
        )
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def empty(folder: Path) -> Portfolio:
    """A portfolio without variants."""
    model = ModelRef("resnet20", 10, (3, 32, 32), {"shortcut": "A"})
    data = {"name": "cifar10", "classes": 10, "train": 45000, "validation": 5000, "test": 10000}
    return Portfolio.create(folder, model, data, {"method": "iterative_magnitude", "seed": 0})


def filled(folder: Path, names: tuple[str, ...]) -> Portfolio:
    """A portfolio with one variant per name."""
    portfolio = empty(folder)
    for level, name in enumerate(names):
        portfolio = portfolio.add(draft(name, level), {"onnx": f"onnx {level}".encode(), "log": log(level)})
    return portfolio
