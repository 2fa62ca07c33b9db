# SPDX-License-Identifier: Apache-2.0
"""Nested portfolios to try the clock on: one network with random weights, six levels of one channel ranking.

    python -m bench.dvfs.made DIR --network resnet20

Every level keeps the best channels of one random ranking of the same weights and has batch norms of its own, as
training by `all_in_one` leaves them; widths are chosen so that latency falls with the clock that the level is for.
Latency, size and memory do not depend on the weights' values; accuracies are assumed (`ACCURACY`), and no figure about
accuracy may be taken from such a portfolio.
"""

import argparse
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.runtime.made import timed
from edgeshift.core.seeds import seed_for
from edgeshift.core.values import ChannelGroup, ModelRef, Proof
from edgeshift.derive.nested import nest
from edgeshift.derive.parent import Parent
from edgeshift.formats import Session, export_onnx, open_onnx, sparse_bytes, weight_bytes
from edgeshift.graph import channel_groups
from edgeshift.measure import Protocol, latencies
from edgeshift.models import build
from edgeshift.portfolio import Draft, Golden, Portfolio

# Relative clocks that a level is made for, and the accuracy on validation that is assumed of it.
ACCURACY = {1.0: 0.92, 0.8: 0.915, 0.6: 0.905, 0.5: 0.895, 0.4: 0.88, 0.3: 0.86}
# Every step of the path that widths are chosen from takes so many channels of a group, down to the least share; every
# so many steps are timed. ONNX Runtime's kernels work in blocks of 16 channels with AVX-512 and of 8 with AVX2: less
# changes no latency, and a wide network has steps enough as it is.
STEP, LEAST, EVERY = {"resnet20": 8, "vgg16_bn": 16}, 0.125, {"resnet20": 3, "vgg16_bn": 8}
# What the policy asks of a variant is to be under the target, which is 1.05 times the whole one's latency. A variant is
# made a twentieth faster than the whole one at its clock: on a shared machine latencies drift by as much from minute to
# minute, and one that does not fit leaves the clock to a neighbour that is a fourth faster.
ROOM = 0.95


def reference(network: str) -> ModelRef:
    """The network, whole."""
    return ModelRef(network, 10, (3, 32, 32), {}, (0.5,) * 3, (0.25,) * 3)


@dataclass(frozen=True)
class Ranked:
    """One set of weights and one ranking of its channels.

    Attributes:
        parent: Traced and exported once.
        groups: Of channels.
        ranks: For each group the place of each channel.
    """

    parent: Parent
    groups: tuple[ChannelGroup, ...]
    ranks: tuple[NDArray[np.int64], ...]

    @staticmethod
    def of(ref: ModelRef) -> "Ranked":
        """Random weights and ranks."""
        parent = Parent.of(build(ref, seed=0), ref, 1)
        groups = channel_groups(parent.model, parent.sample)
        source = np.random.default_rng(seed_for(0, "ranks"))
        return Ranked(parent, groups, tuple(source.permutation(g.channels) for g in groups))

    def path(self, step: int) -> list[tuple[int, ...]]:
        """Widths from the whole network to the least, one group narrower at each step: each holds all later ones."""
        full = [g.channels for g in self.groups]
        widths, found = list(full), [tuple(full)]
        while True:
            wide = [i for i, f in enumerate(full) if widths[i] - step >= max(step, LEAST * f)]
            if not wide:
                break
            widest = max(wide, key=lambda i: (widths[i] / full[i], i))
            widths[widest] -= step
            found.append(tuple(widths))
        # At last halves of a block, all together.
        found.append(tuple(max(w // 2, 1) for w in widths))
        return found

    def state(self, widths: tuple[int, ...], base: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        """The masked state of a level; its norms have scales and statistics of their own."""
        source = torch.Generator().manual_seed(seed_for(seed, "levels"))
        one = deepcopy(self.parent.model)
        one.load_state_dict(dict(base))
        named = dict(one.named_parameters())
        with torch.no_grad():
            for group, rank, left in zip(self.groups, self.ranks, widths, strict=True):
                for name, rows in group.rows.items():
                    if "bn" in name:
                        named[name].mul_(1 + 0.1 * torch.randn(named[name].shape, generator=source))
                    named[name][torch.from_numpy(rows[rank >= left].reshape(-1))] = 0
            for _ in range(5):
                one.train()(torch.randn(16, 3, 32, 32, generator=source))
        return {n: t.detach().clone() for n, t in one.state_dict().items()}

    def session(self, widths: tuple[int, ...], base: Mapping[str, Tensor]) -> Session:
        """A network of those widths, ready to be timed."""
        small = self.parent.shrunk(self.state(widths, base, 0)).model
        return open_onnx(export_onnx(small, self.parent.sample, template=self.parent.template).data)


def chosen(ranked: Ranked, base: Mapping[str, Tensor], step: int, every: int) -> list[tuple[int, ...]]:
    """Widths for each clock: the first on the path with at most `ROOM` times the clock times the whole one's latency.

    Some points are timed in turns and latency is taken to be straight between them; then the chosen ones are timed
    beside the whole network and chosen anew by the curve that this corrects, until all that are chosen were timed.
    Where none is fast enough for a clock, the narrowest is taken.
    """
    path = ranked.path(step)
    points = [0, *range(every, len(path) - 1, every), len(path) - 1]
    sample = np.zeros((1, *ranked.parent.sample.shape[1:]), np.float32)

    def timed_at(wanted: list[int]) -> NDArray[np.float64]:
        sessions = [ranked.session(path[point], base) for point in wanted]
        return np.array([figure.value for figure in latencies(sessions, sample, 1, Protocol())])

    def falling(known: dict[int, float]) -> NDArray[np.float64]:
        """Over the whole network's, at every point of the path; noise that rises again is levelled."""
        places = sorted(known)
        return np.minimum.accumulate(np.interp(range(len(path)), places, [known[p] for p in places]))

    def met(curve: NDArray[np.float64]) -> list[int]:
        found = [0]
        for clock in list(ACCURACY)[1:]:
            fast = np.flatnonzero(curve <= ROOM * clock)
            found.append(max(int(fast[0]) if len(fast) else len(path) - 1, found[-1] + 1))
        return [min(point, len(path) - 1) for point in found]

    times = timed_at(points)
    known = dict(zip(points, (times / times[0]).tolist(), strict=True))
    sure: set[int] = set()
    while not set(found := met(falling(known))) <= sure:
        times = timed_at(found)
        known |= dict(zip(found, (times / times[0]).tolist(), strict=True))
        sure |= set(found)
    return [path[point] for point in found]


def portfolio(folder: Path, network: str = "resnet20") -> Portfolio:
    """The ordinary portfolio of six levels in a folder; made if it is not there."""
    ref = reference(network)
    found = Portfolio.create(folder, ref, {"name": "random"}, {"network": network, "made": "bench.dvfs"})
    if len(found) == len(ACCURACY):
        return timed(found, quick=False)
    ranked = Ranked.of(ref)
    parent = ranked.parent
    base = {n: t.detach().clone() for n, t in parent.model.state_dict().items()}
    widths = chosen(ranked, base, STEP[network], EVERY[network])
    for number, (width, accuracy) in enumerate(zip(widths, ACCURACY.values(), strict=True)):
        state = ranked.state(width, base, number)
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
    parser.add_argument("--network", choices=tuple(EVERY), default="resnet20")
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


if __name__ == "__main__":
    main()
