# SPDX-License-Identifier: Apache-2.0
"""What it costs to shift to another variant, in time and in memory, against reloading and against processes.

    python -m bench.runtime.overhead DIR
    python -m bench.runtime.overhead DIR --network vgg16 --shifts 100

Overhead of one shift: from the decision to the first answer of the new variant, minus the steady median of that
variant in the same way of running it. Ways: the warm pool (ours), the same opened on demand from a mapped file,
reloading the ONNX file, reloading the torch model (build, read the weights, copy them in, as DNNShifter does), and
one process per variant. All ways take turns shift by shift, so that a busy machine slows all alike, and each answers
a few requests on the old variant first: a device that shifts is one that serves. (Without these, what was timed was
the processor's caches after the torch reload before it: 0.3 ms, for each way.)

Memory: a fresh process for each way opens the largest variant alone, or all four, beside a small one that is there
before, runs each once and reports what that added: private (anonymous) and mapped file pages, from
/proc/self/smaps_rollup. The small one stays, so that nothing new fits into what it left.
"""

import argparse
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.record import Run, keep, table
from bench.runtime.made import ACCURACY, INPUT, portfolio, reference
from edgeshift.formats import open_onnx, read_tensors
from edgeshift.models import build
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.worker import Remote

X = np.random.default_rng(0).standard_normal((1, *INPUT), dtype=np.float32)
# Answers of the old variant before each shift.
BEFORE = 3
WAYS = ("warm pool", "on demand, mapped", "reload ONNX", "reload torch", "process per variant")
# Name of a variant -> share of the channels.
SHARES = {f"width-{round(share * 100):03d}": share for share in ACCURACY}
Answer = Callable[[], object]


def torch_model(found: Portfolio, network: str, name: str) -> torch.nn.Module:
    """The variant built and its weights read from disk and copied in."""
    model = build(reference(network, SHARES[name])).eval()
    tensors, _ = read_tensors(found.path_of(found.find(name), "weights"))
    model.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in tensors.items()})
    return model


def torch_answer(model: torch.nn.Module) -> Answer:
    """One answer of a torch model."""
    inputs = torch.from_numpy(X)

    def run() -> object:
        with torch.inference_mode():
            return model(inputs)

    return run


def arrivals(found: Portfolio, network: str, engine: Engine) -> dict[str, Callable[[str], Answer]]:
    """Way -> how a variant becomes ready to answer after the decision for it."""
    backend = Onnxruntime()
    key = {v.name: engine._cache.key(v.files["onnx"].sha256, backend) for v in found}
    built = {name: engine._cache.find(k) for name, k in key.items()}
    remote = {v.name: Remote(backend, built[v.name] or b"", 1) for v in found}

    def warm(name: str) -> Answer:
        ready = engine.ready(engine.index_of(name))
        return lambda: ready.run({"input": X})

    def demand(name: str) -> Answer:
        path = built[name]
        model = backend.open(path if path is not None else b"", 1)
        return lambda: model.run({"input": X})

    def onnx(name: str) -> Answer:
        session = open_onnx(found.path_of(found.find(name), "onnx"))
        return lambda: session.run(X)

    def process(name: str) -> Answer:
        return lambda: remote[name].run({"input": X})

    return {
        "warm pool": warm,
        "on demand, mapped": demand,
        "reload ONNX": onnx,
        "reload torch": lambda name: torch_answer(torch_model(found, network, name)),
        "process per variant": process,
    }


def steady(ways: dict[str, Callable[[str], Answer]], name: str, repeats: int) -> dict[str, float]:
    """Way -> median of one answer in ms, the ways in turns."""
    ready = {way: arrive(name) for way, arrive in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 3):
        for way, answer in ready.items():
            for _ in range(BEFORE):
                answer()
            start = time.perf_counter()
            answer()
            times[way].append((time.perf_counter() - start) * 1e3)
    return {way: float(np.median(found[3:])) for way, found in times.items()}


def shifts(found: Portfolio, network: str, count: int) -> list[dict[str, Any]]:
    """Overheads of every way."""
    with Engine(found.path) as engine:
        ways = arrivals(found, network, engine)
        names = [p.name for p in engine.ladder.profiles]
        level = {name: steady(ways, name, 30) for name in names}
        took: dict[str, list[float]] = {way: [] for way in ways}
        source = random.Random(0)
        last = names[0]
        old = {way: arrive(last) for way, arrive in ways.items()}
        for _ in range(count):
            last = source.choice([name for name in names if name != last])
            for way, arrive in ways.items():
                for _ in range(BEFORE):
                    old[way]()
                start = time.perf_counter()
                old[way] = arrive(last)
                old[way]()
                took[way].append((time.perf_counter() - start) * 1e3 - level[last][way])
            gc.collect()
    ours = max(float(np.median(took["warm pool"])), 1e-3)
    return [row_of(network, way, np.array(values), ours) for way, values in took.items()]


def row_of(network: str, way: str, took: NDArray[np.float64], ours: float) -> dict[str, Any]:
    """One line; the ratio is of medians, ours counted as at least a microsecond."""
    return {
        "what": "overhead of a shift",
        "network": network,
        "way": way,
        "shifts": len(took),
        "p50_ms": float(np.median(took)),
        "p90_ms": float(np.percentile(took, 90)),
        "p99_ms": float(np.percentile(took, 99)),
        "times_ours": float(np.median(took)) / ours,
    }


def pages() -> dict[str, float]:
    """MB of this process: anonymous, and mapped file pages that lie in memory."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return {"private_mb": found["Anonymous"], "file_mb": found["Rss"] - found["Anonymous"]}


def opened(
    way: str, found: Portfolio, network: str, names: list[str], built: dict[str, Path]
) -> list[Answer]:
    """The variants, ready in this process."""
    if way == "mapped":
        models = [Onnxruntime().open(built[name], 1) for name in names]
        return [lambda m=model: m.run({"input": X}) for model in models]  # type: ignore[misc]
    if way == "reload ONNX":
        sessions = [open_onnx(found.path_of(found.find(name), "onnx")) for name in names]
        return [lambda s=session: s.run(X) for session in sessions]  # type: ignore[misc]
    return [torch_answer(torch_model(found, network, name)) for name in names]


def inside(way: str, folder: Path, network: str, names: list[str], built: dict[str, Path]) -> None:
    """Print what opening these variants adds to this process; one more of the smallest does not count."""
    found = Portfolio.open(folder)
    small = "width-025"
    first = opened(way, found, network, [small], built)
    for answer in first:
        answer()  # the runtime's own memory, before counting
    gc.collect()
    before = pages()
    answers = opened(way, found, network, names, built)
    for answer in answers:
        answer()
    gc.collect()
    after = pages()
    added = {name: after[name] - before[name] for name in after}
    print(json.dumps({**added, "process_mb": sum(after.values())}))


def memory(found: Portfolio, network: str) -> list[dict[str, Any]]:
    """Rows for each way: the largest alone, and all four."""
    with Engine(found.path) as engine:
        built = {
            v.name: str(engine._cache.find(engine._cache.key(v.files["onnx"].sha256, Onnxruntime())))
            for v in found
        }
    sizes = {name: Path(path).stat().st_size for name, path in built.items()}
    rows: list[dict[str, Any]] = []
    for way in ("mapped", "reload ONNX", "torch"):
        one, four = (in_process(way, found, network, names, built) for names in (["width-100"], list(SHARES)))
        rows.append(
            {
                "what": "memory",
                "network": network,
                "way": way,
                "largest_private_mb": one["private_mb"],
                "largest_file_mb": one["file_mb"],
                "four_private_mb": four["private_mb"],
                "four_file_mb": four["file_mb"],
                "four_over_largest": added(four) / added(one),
                "process_over_process": four["process_mb"] / one["process_mb"],
                "largest_process_mb": one["process_mb"],
                "private_per_variant_mb": four["private_mb"] / 4,
                "files_over_largest": sum(sizes.values()) / max(sizes.values()),
            }
        )
    return rows


def added(found: dict[str, float]) -> float:
    """MB that opening added."""
    return found["private_mb"] + found["file_mb"]


def in_process(
    way: str, found: Portfolio, network: str, names: list[str], built: dict[str, str]
) -> dict[str, float]:
    """What `inside` prints, in a fresh interpreter."""
    program = (
        "import json, sys; from pathlib import Path; from bench.runtime.overhead import inside\n"
        "way, folder, network, names, built = json.loads(sys.argv[1])\n"
        "inside(way, Path(folder), network, names, {n: Path(p) for n, p in built.items()})"
    )
    asked = json.dumps([way, str(found.path), network, names, built])
    done = subprocess.run([sys.executable, "-c", program, asked], capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench_runtime"))
    parser.add_argument("--network", default="resnet20", choices=("resnet20", "resnet56", "vgg16"))
    parser.add_argument("--shifts", type=int, default=1000)
    parser.add_argument("--claim", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = portfolio(given.folder / given.network, given.network)
    held = memory(found, given.network)
    print(table(held, list(held[0])))
    cost = shifts(found, given.network, given.shifts)
    print(table(cost, list(cost[0])))
    by = {row["way"]: row for row in cost}
    ours, reload_torch = by["warm pool"], by["reload torch"]
    mapped = held[0]
    said = [
        f"{given.network}: a shift costs {ours['p50_ms'] * 1e3:.1f} us (median) and {ours['p99_ms']:.3f} ms (p99) in "
        f"the warm pool, {reload_torch['p50_ms']:.1f} ms by reloading torch: {reload_torch['times_ours']:.0f} times "
        "lower (target: 100).",
        *(
            f"{row['way']}: median {row['p50_ms']:.3f} ms, {row['times_ours']:.1f} times ours."
            for row in cost[1:]
        ),
        f"Four variants ready, mapped: {mapped['four_over_largest']:.2f} times the largest alone "
        f"(target: at most 2.0), {mapped['private_per_variant_mb']:.2f} MB private each (target: under 1); their "
        f"files together are {mapped['files_over_largest']:.2f} times the largest. The process as a whole, "
        f"{mapped['largest_process_mb']:.0f} MB with the largest alone, grows "
        f"{mapped['process_over_process']:.2f} times.",
    ]
    print("\n".join(said))
    keep(
        Run(
            given.claim or f"runtime_overhead_{given.network}",
            "Time and memory of shifting between variants: warm pool against reloading and processes.",
            repeats=f"{given.shifts} shifts to random variants, the ways in turns; memory once",
            spread="p50, p90 and p99 of single shifts",
        ),
        [*cost, *held],
        said,
    )


if __name__ == "__main__":
    main()
