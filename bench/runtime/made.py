# SPDX-License-Identifier: Apache-2.0
"""Portfolios to serve: one network at four widths with random weights, exported, proved and measured here.

    python -m bench.runtime.made DIR
    python -m bench.runtime.made DIR --network vgg16

Latency, memory and faults do not depend on the weights' values; accuracies are assumed (`ACCURACY`) so that a
policy has something to choose between, and no figure about accuracy may be taken from such a portfolio alone.
Other benches call `portfolio(folder)`.
"""

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from edgeshift.core.seeds import seed_for
from edgeshift.core.values import ModelRef, Proof
from edgeshift.formats import Template, export_onnx, make_template, open_onnx, weight_bytes
from edgeshift.measure import Protocol, latencies
from edgeshift.measure.latency import QUICK
from edgeshift.models import build, example
from edgeshift.portfolio import Draft, Golden, Portfolio

# Share of the channels -> accuracy on validation, assumed: what pruned CIFAR networks of that size have.
ACCURACY = {1.0: 0.935, 0.75: 0.931, 0.5: 0.918, 0.25: 0.885}
CLASSES, INPUT = 10, (3, 32, 32)
VGG_WIDTHS = (64, 128, 256, 512, 512)
NETWORKS = ("resnet20", "resnet56", "vgg16")


def reference(network: str, share: float) -> ModelRef:
    """A network with that share of its channels."""
    options: dict[str, Any]
    if network == "vgg16":
        name, options = "vgg16_bn", {"widths": [round(w * share) for w in VGG_WIDTHS]}
    else:
        name, options = network, {"width": round(16 * share)}
    return ModelRef(name, CLASSES, INPUT, options, (0.5,) * 3, (0.25,) * 3)


def settled(network: str, share: float) -> torch.nn.Module:
    """Random weights, with the batch norm statistics of random inputs, so that signals neither die nor explode."""
    model = build(reference(network, share), seed=round(share * 100))
    generator = torch.Generator().manual_seed(seed_for(0, "settle"))
    with torch.no_grad():
        for _ in range(20):
            model.train()(torch.randn(16, *INPUT, generator=generator))
    return model.eval()


def files(model: torch.nn.Module, sample: torch.Tensor, template: Template) -> dict[str, bytes]:
    """ONNX, weights and golden pair of a model."""
    with torch.inference_mode():
        answer = deepcopy(model).double()(sample.double())
    return {
        "onnx": export_onnx(model, sample, template=template).data,
        "weights": weight_bytes(model),
        "golden": Golden(sample.numpy(), answer.numpy()).to_bytes(),
    }


def portfolio(folder: Path, network: str = "resnet20", *, quick: bool = False) -> Portfolio:
    """The portfolio in a folder; made if it is not there.

    Args:
        folder: Where.
        network: One of `NETWORKS`.
        quick: Measure latencies for a second instead of ten, which is enough for faults and tests.
    """
    whole = reference(network, 1.0)
    found = Portfolio.create(folder, whole, {"name": "random"}, {"network": network, "quick": quick})
    sample = example(whole, batch=4)
    template: Template | None = None
    for share, accuracy in ACCURACY.items():
        name = f"width-{round(share * 100):03d}"
        if name in [v.name for v in found]:
            continue
        model = settled(network, share)
        template = template or make_template(model, sample)
        size = sum(p.numel() for p in model.parameters())
        draft = Draft(
            name=name,
            recipe={},
            accuracy={"validation": accuracy, "test": accuracy},
            parameters=size,
            macs=size,
            sparsity=1 - share,
            widths={},
            measurements=(),
            proof=Proof(0.0, 0.0, 1, ("random",), 1e-9),
        )
        found = found.add(draft, files(model, sample, template))
    return timed(found, quick=quick)


def timed(found: Portfolio, *, quick: bool) -> Portfolio:
    """The portfolio with a latency for every variant."""
    if all(any(m.quantity == "latency" for m in v.measurements) for v in found):
        return found
    sessions = [open_onnx(found.read(variant, "onnx")) for variant in found]
    figures = latencies(sessions, example(found.model, batch=1).numpy(), 1, QUICK if quick else Protocol())
    for variant, figure in zip(found.variants, figures, strict=True):
        found = found.remeasured(variant, (figure,))
    return found


def main() -> None:
    """Make one and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench_runtime"))
    parser.add_argument("--network", choices=NETWORKS, default="resnet20")
    given = parser.parse_args()
    for variant in portfolio(given.folder, given.network):
        latency = variant.measured("latency")
        size = variant.files["onnx"].size_bytes
        print(f"{variant.name}: {latency.value:.3f} ms, p95 {latency.p95:.3f} ms, {size} bytes")


if __name__ == "__main__":
    main()
