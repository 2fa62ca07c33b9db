# SPDX-License-Identifier: Apache-2.0
"""Storage, memory and reconfiguration of a nested portfolio, for each mode.

    python -m bench.dvfs.memory --portfolio build/bench_dvfs/vgg16_bn_nested

Memory: a fresh process opens the largest variant alone, or all, runs each once and reports what that added: private
(anonymous) and mapped file pages. `views`: all use the one mapping of the nested file; `warm`: each is mapped from a
file built for it here; `copies`: each is a session of its own ONNX bytes, as without this work. Reconfiguration: from
the decision for another variant to its first answer, minus the steady time of an answer of that variant.
"""

import argparse
import ctypes
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import Run, keep, table
from bench.runtime.overhead import pages
from edgeshift.formats import open_onnx, tensor_bytes
from edgeshift.formats.nested import Member, nested_bytes, open_nested
from edgeshift.formats.nested_model import plan_name
from edgeshift.formats.nested_onnx import VIEWS, WHOLE, graph_name, whole_onnx
from edgeshift.portfolio import Portfolio
from edgeshift.runtime import Engine, Switcher
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.cache import Cache
from edgeshift.runtime.engine import CACHE
from edgeshift.runtime.nested import NestedFiles, key_of
from edgeshift.runtime.policies.fixed import Fixed

# Where glibc keeps what was freed; it is given back before counting.
TRIM = ctypes.CDLL(None).malloc_trim if sys.platform.startswith("linux") else lambda _: 0
SHIFTS = {"warm": 1000, "views": 1000, "demand": 200, "demand, first time": 20}


def inside(way: str, folder: Path, names: list[str]) -> None:
    """Print what opening these variants adds to this process."""
    found = Portfolio.open(folder)
    variants = [found.find(name) for name in names]
    nested = open_nested(found.path_of(variants[0], "nested"))
    sample = np.zeros((1, *found.model.input_shape), np.float32)
    # The runtime's own memory, before counting.
    open_onnx(whole_onnx(nested, len(nested.variants) - 1)).run(sample)
    files, backend, cache = NestedFiles(), Onnxruntime(), Cache(folder / CACHE)
    built = {v.name: cache.find(cache.key(key_of(v), backend)) for v in variants}
    onnx = {v.name: whole_onnx(nested, nested.index(v.name)) for v in variants if way == "copies"}
    del nested
    gc.collect()
    TRIM(0)
    before, held = pages(), []
    for variant in variants:
        if way == "views":
            model, _ = files.open_views(found, variant, backend, 1)
        else:
            path = built[variant.name]
            model = backend.open(onnx.pop(variant.name) if path is None or way == "copies" else path, 1)
        model.run({model.inputs[0].name: sample})
        held.append(model)
    gc.collect()
    TRIM(0)
    after = pages()
    print(json.dumps({name: after[name] - before[name] for name in after}))


def memory(found: Portfolio) -> list[dict[str, Any]]:
    """One row for each way."""
    with Engine(found.path):  # builds what is not built
        pass
    cache, files, backend = Cache(found.path / CACHE), NestedFiles(), Onnxruntime()
    for variant in found:
        key = cache.key(key_of(variant), backend)
        if cache.find(key) is None:
            cache.build(key, backend, files.onnx(found, variant))
    names, rows = [v.name for v in found], []
    for way in ("views", "warm", "copies"):
        one, six = (in_process(way, found.path, chosen) for chosen in (names[:1], names))
        rows.append(
            {
                "what": "memory",
                "way": way,
                "variants": len(names),
                "largest_private_mb": one["private_mb"],
                "largest_file_mb": one["file_mb"],
                "all_private_mb": six["private_mb"],
                "all_file_mb": six["file_mb"],
                "all_over_largest": sum(six.values()) / sum(one.values()),
                "more_mb_per_variant": (sum(six.values()) - sum(one.values())) / max(1, len(names) - 1),
            }
        )
    for row in rows:
        row["all_over_largest_warm"] = (row["all_private_mb"] + row["all_file_mb"]) / (
            rows[1]["largest_private_mb"] + rows[1]["largest_file_mb"]
        )
    return rows


def in_process(way: str, folder: Path, names: list[str]) -> dict[str, float]:
    """What `inside` prints, in a fresh interpreter."""
    program = (
        "import json, sys; from pathlib import Path; from bench.dvfs.memory import inside\n"
        "way, folder, names = json.loads(sys.argv[1])\n"
        "inside(way, Path(folder), names)"
    )
    asked = json.dumps([way, str(folder), names])
    done = subprocess.run([sys.executable, "-c", program, asked], capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def storage(found: Portfolio) -> dict[str, Any]:
    """Bytes of the nested file, of the largest variant alone in the same kind of file, and of what modes build."""
    nested = open_nested(found.path_of(found.variants[0], "nested"))
    tensors = nested.tensors(0)
    kept = {n: tuple(np.arange(size) for size in array.shape) for n, array in tensors.items()}
    names = [graph_name(kind, 0) for kind in (WHOLE, VIEWS)]
    files = {name: nested.files[name] for name in [*names, f"{names[1]}.names", plan_name(0)]}
    weights = len(tensor_bytes(tensors))
    alone = len(nested_bytes([Member(nested.variants[0], tensors, kept)], files))
    size = found.variants[0].files["nested"].size_bytes
    built = [p.stat().st_size for p in (found.path / CACHE).glob("*.bin")]
    return {
        "what": "storage",
        "variants": len(found),
        "nested_bytes": size,
        "largest_weights_bytes": weights,
        "largest_nested_alone_bytes": alone,
        "over_weights": size / weights,
        "over_nested_alone": size / alone,
        "each_alone_bytes": sum(len(tensor_bytes(nested.tensors(k))) for k in range(len(found))),
        "built_on_device_warm_bytes": sum(built),
        "built_on_device_views_bytes": 0,
    }


def steady(engine: Engine, index: int, given: dict[str, Any], count: int = 60) -> float:
    """Median time of an answer in ms."""
    ready, took = engine.ready(index), []
    for _ in range(count):
        start = time.perf_counter()
        ready.run(given)
        took.append((time.perf_counter() - start) * 1e3)
    return float(np.median(took[5:]))


def shifts(found: Portfolio, way: str) -> dict[str, Any]:
    """From decision to first answer, minus the steady time; and until the variant is ready."""
    mode = way.split(",")[0]
    source, ready_ms, first_ms = random.Random(0), [], []
    with Engine(found.path, mode=mode) as engine:
        count = len(engine.ladder)
        sample = np.zeros((1, *found.model.input_shape), np.float32)
        given = {engine.inputs[0].name: sample}
        level = [steady(engine, index, given) for index in range(count)]
        forget: Callable[[int], object] = lambda _: None  # noqa: E731
        if mode == "demand":
            forget = engine._opened.release
        last = 0
        for _ in range(SHIFTS[way]):
            last = source.choice([index for index in range(count) if index != last])
            forget(last)
            if way.endswith("first time"):
                variant = engine._opened.variants[last]
                engine._cache.drop(engine._cache.key(key_of(variant), Onnxruntime()))
            gc.collect()
            start = time.perf_counter()
            ready = engine.ready(last)
            there = time.perf_counter()
            ready.run(given)
            end = time.perf_counter()
            ready_ms.append((there - start) * 1e3)
            first_ms.append((end - start) * 1e3 - level[last])
    return {
        "what": "reconfiguration",
        "way": way,
        "shifts": len(ready_ms),
        "ready_p50_ms": float(np.median(ready_ms)),
        "ready_p99_ms": float(np.percentile(ready_ms, 99)),
        "first_answer_p50_ms": float(np.median(first_ms)),
        "first_answer_p99_ms": float(np.percentile(first_ms, 99)),
        "steady_ms": {engine.ladder[i].name: level[i] for i in range(count)},
    }


def switches(found: Portfolio, mode: str, count: int = 20_000) -> dict[str, Any]:
    """What one switch takes in the Switcher, nobody asking meanwhile."""
    source, took = random.Random(0), np.zeros(count)
    with Engine(found.path, mode=mode) as engine, Switcher(engine, Fixed(reject=False)) as switcher:
        names = [p.name for p in engine.ladder.profiles]
        for number in range(count):
            name = source.choice(names)
            start = time.perf_counter_ns()
            switcher.switch(name)
            took[number] = time.perf_counter_ns() - start
    us = took / 1e3
    return {
        "what": "switch",
        "way": mode,
        "switches": count,
        "p50_us": float(np.median(us)),
        "p99_us": float(np.percentile(us, 99)),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portfolio", type=Path, required=True)
    parser.add_argument("--claim", default="")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = Portfolio.open(given.portfolio)
    held = memory(found)
    print(table(held, list(held[0])))
    stored = storage(found)
    print(json.dumps(stored))
    moved = [shifts(found, way) for way in SHIFTS]
    print(table(moved, list(moved[0])[:-1]))
    cheap = [switches(found, mode) for mode in ("warm", "views")]
    print(table(cheap, list(cheap[0])))
    said = [
        f"{found.model.name}, trained on {found.data.get('images', {}).get('train', 0)} images, which sizes and times "
        f"do not depend on: {stored['variants']} variants in {stored['nested_bytes']} bytes, "
        f"{stored['over_weights']:.4f} times the largest one's tensors alone, {stored['over_nested_alone']:.4f} times "
        "the largest alone with its graphs in the same kind of file (target 1.05).",
        *(
            f"{row['way']}: all ready {row['all_private_mb'] + row['all_file_mb']:.1f} MB "
            f"({row['all_private_mb']:.1f} of it private), {row['all_over_largest']:.2f} times the largest alone "
            f"opened that way, {row['all_over_largest_warm']:.2f} times the largest alone in a warm pool; "
            f"{row['more_mb_per_variant']:.2f} MB for each further variant"
            + (" (target: 1.1 times)." if row["way"] == "views" else ".")
            for row in held
        ),
        *(
            f"{row['way']}: ready after {row['ready_p50_ms']:.4f} ms (p50) and {row['ready_p99_ms']:.3f} (p99); first "
            f"answer {row['first_answer_p50_ms']:+.3f} and {row['first_answer_p99_ms']:+.3f} ms over steady."
            for row in moved
        ),
        *(
            f"A switch in mode {r['way']}: {r['p50_us']:.2f} us (p50), {r['p99_us']:.2f} (p99)."
            for r in cheap
        ),
        "Latency in mode views over that in mode warm, variant by variant, the fastest first: "
        + ", ".join(
            f"{b / a:.2f}"
            for a, b in zip(moved[0]["steady_ms"].values(), moved[1]["steady_ms"].values(), strict=True)
        )
        + ".",
    ]
    print("\n".join(said))
    keep(
        Run(
            given.claim or f"nested_memory_{found.model.name}",
            "Storage, memory and reconfiguration time of variants nested in one file, for each mode.",
            repeats="memory once in a fresh process; shifts to random variants as the rows count them",
            spread="p50 and p99 of single shifts",
        ),
        [stored, *held, *moved, *cheap],
        said,
    )


if __name__ == "__main__":
    main()
