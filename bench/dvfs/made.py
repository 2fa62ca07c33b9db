# SPDX-License-Identifier: Apache-2.0
"""Nested portfolios to try the clock on: one network with random weights, six levels of one channel ranking.

    python -m bench.dvfs.made DIR --network resnet20

Every level keeps the best channels of one random ranking of the same weights and has batch norms of its own, as
training by `all_in_one` leaves them. Latency, size and memory do not depend on the weights' values; accuracies are
assumed (`ACCURACY`), and no figure about accuracy may be taken from such a portfolio.
"""

import argparse
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.runtime.made import timed
from edgeshift.core.seeds import seed_for
from edgeshift.core.values import ChannelGroup, ModelRef, Proof
from edgeshift.derive.nested import nest
from edgeshift.derive.parent import Parent
from edgeshift.formats import export_onnx, sparse_bytes, weight_bytes
from edgeshift.graph import channel_groups
from edgeshift.models import build, example
from edgeshift.portfolio import Draft, Golden, Portfolio

# Share of the multiply-accumulates that each level is to keep -> accuracy on validation, assumed.
ACCURACY = {1.0: 0.92, 0.8: 0.915, 0.6: 0.905, 0.5: 0.895, 0.4: 0.88, 0.3: 0.86}
# ONNX Runtime's blocked kernels on AVX-512.
BLOCK = {"resnet20": 4, "vgg16_bn": 16}


def reference(network: str) -> ModelRef:
    """The network, whole."""
    return ModelRef(network, 10, (3, 32, 32), {}, (0.5,) * 3, (0.25,) * 3)


def levels(model: torch.nn.Module, groups: tuple[ChannelGroup, ...], block: int) -> list[dict[str, Tensor]]:
    """The state of each level, masked; norms measured on random inputs, scales drawn for each."""
    source = torch.Generator().manual_seed(seed_for(0, "levels"))
    ranks = [torch.randperm(g.channels, generator=source).numpy() for g in groups]
    found = []
    for share in ACCURACY:
        one = deepcopy(model)
        for group, rank in zip(groups, ranks, strict=True):
            # Cost goes with the square of the width.
            left = max(block, round(group.channels * share**0.5 / block) * block)
            gone = np.flatnonzero(rank >= left)
            with torch.no_grad():
                for name, rows in group.rows.items():
                    tensor = dict(one.named_parameters())[name]
                    if "bn" in name:
                        tensor.mul_(1 + 0.1 * torch.randn(tensor.shape, generator=source))
                    tensor[rows[gone].reshape(-1)] = 0
        with torch.no_grad():
            for _ in range(5):
                one.train()(torch.randn(16, 3, 32, 32, generator=source))
        found.append({n: t.detach().clone() for n, t in one.state_dict().items()})
    return found


def portfolio(folder: Path, network: str = "resnet20") -> Portfolio:
    """The ordinary portfolio of six levels in a folder; made if it is not there."""
    ref = reference(network)
    found = Portfolio.create(folder, ref, {"name": "random"}, {"network": network, "made": "bench.dvfs"})
    if len(found) == len(ACCURACY):
        return timed(found, quick=False)
    model = build(ref, seed=0)
    parent = Parent.of(model, ref, 1)
    groups = channel_groups(parent.model, parent.sample)
    states = levels(model, groups, BLOCK[network])
    for number, (state, accuracy) in enumerate(zip(states, ACCURACY.values(), strict=True)):
        shrunk = parent.shrunk(state)
        size = shrunk.report.after
        with torch.inference_mode():
            answer = deepcopy(parent.model).double()(parent.sample.double())
        draft = Draft(
            name=f"level-{number}",
            recipe={},
            accuracy={"validation": accuracy, "test": accuracy},
            parameters=size.parameters,
            macs=size.macs,
            sparsity=0.0,
            widths=size.widths,
            measurements=(),
            proof=shrunk.proof or Proof(0.0, 0.0, 1, ("random",), 1e-9),
        )
        files = {
            "onnx": export_onnx(shrunk.model, parent.sample, template=parent.template).data,
            "weights": weight_bytes(shrunk.model, shrunk.plan),
            "masked": sparse_bytes({n: t.numpy() for n, t in state.items()}),
            "golden": Golden(parent.sample.numpy(), answer.numpy()).to_bytes(),
        }
        found = found.add(draft, files)
    return timed(found, quick=False)


def nested(source: Portfolio, folder: Path) -> Portfolio:
    """The nested portfolio of an ordinary one; made if it is not there or is of another one."""
    wanted = [v.name for v in source]
    if (folder / "portfolio.json").exists():
        found = Portfolio.open(folder)
        if sorted(v.name for v in found) == sorted(wanted):
            return found
    return nest(source, folder)


def main() -> None:
    """Make both and say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench_dvfs"))
    parser.add_argument("--network", choices=tuple(BLOCK), default="resnet20")
    given = parser.parse_args()
    found = portfolio(given.folder / given.network, given.network)
    one = nested(found, given.folder / f"{given.network}_nested")
    largest = found.variants[0]
    file = one.variants[0].files["nested"].size_bytes
    for variant in found:
        latency = variant.measured("latency")
        print(
            f"{variant.name}: {latency.value:.3f} ms, p95 {latency.p95:.3f}, {variant.macs / largest.macs:.2f}"
        )
    sizes = {role: largest.files[role].size_bytes for role in ("onnx", "weights")}
    print(json.dumps({"nested": file, **sizes, "over_weights": file / sizes["weights"]}))
    print(example(found.model).shape)


if __name__ == "__main__":
    main()
