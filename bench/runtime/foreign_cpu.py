# SPDX-License-Identifier: Apache-2.0
"""A cache built on this CPU, opened on an older one: refused, and built again.

    python -m bench.runtime.foreign_cpu
    python -m bench.runtime.foreign_cpu --cpu Nehalem --networks resnet20

The older CPU is emulated by `qemu-x86_64` (package qemu-user); built on a CPU with AVX-512, the files lay weights out
in blocks of 16 channels where a CPU without it takes 8. Four runs there, each on a copy of the portfolio as it was
built here: the built files opened as they are, which no check of the file itself can find fault with; the engine with
its key for this CPU, which must not find the entries; the engine made to find them, where the self test must refuse
them; and the portable ONNX files as the control.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table
from bench.runtime.made import portfolio
from edgeshift.runtime import Engine
from edgeshift.runtime.backends.onnxruntime import Onnxruntime

# Opens things on the other CPU and prints what came out; the arguments are the portfolio, a mode and our features.
PROGRAM = """
import json, sys; from pathlib import Path
from edgeshift.core.errors import BadPortfolio, VariantFailed
from edgeshift.portfolio import Golden, Portfolio
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.cache import Cache
from edgeshift.runtime.ready import Loader, difference
folder, mode, features = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
found, backend, cache = Portfolio.open(folder), Onnxruntime(), Cache(folder / ".cache")
mine = list(cache._features)
if mode != "key":
    cache._features = tuple(features)
rows = []
for variant in found:
    if mode in ("key", "test"):
        loaded = Loader(found, backend, cache, lambda s: backend.open(s, 1)).load(variant)
        rows.append([loaded.error, loaded.note])
        continue
    golden = Golden.from_bytes(found.read(variant, "golden"))
    path = cache.find(cache.key(variant.files["onnx"].sha256, backend))
    try:
        model = backend.open(path if mode == "as it is" else found.read(variant, "onnx"), 1)
        rows.append([difference(model.run({"input": golden.inputs})["output"], golden.outputs), ""])
    except (BadPortfolio, VariantFailed) as error:
        rows.append([None, str(error)])
print(json.dumps({"rows": rows, "features": mine}))
"""
# A relative error beyond this is another answer; the golden pairs' own tolerance.
WRONG = 1e-4


def there(cpu: str, folder: Path, mode: str, features: tuple[str, ...]) -> dict[str, Any]:
    """What the program prints on the other CPU."""
    command = [
        "qemu-x86_64",
        "-cpu",
        cpu,
        sys.executable,
        "-c",
        PROGRAM,
        str(folder),
        mode,
        json.dumps(features),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    if done.returncode != 0:
        raise SystemExit(f"{mode} on {cpu}: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def row_of(network: str, mode: str, found: dict[str, Any], features: tuple[str, ...]) -> dict[str, Any]:
    """One line: what became of the variants in one mode."""
    errors = [error for error, _ in found["rows"] if error is not None]
    return {
        "network": network,
        "mode": mode,
        "variants": len(found["rows"]),
        "right": sum(error <= WRONG for error in errors),
        "wrong_without_an_error": sum(not error <= WRONG for error in errors),
        "raised": len(found["rows"]) - len(errors),
        "largest_error": max(errors, default=None),
        "refused": sum("cached file refused" in note for _, note in found["rows"]),
        "other_features": found["features"] != list(features),
        "notes": [note[:200] for _, note in found["rows"] if note],
    }


def main() -> None:
    """Build here, open there, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench_runtime"))
    parser.add_argument("--cpu", default="Haswell")
    parser.add_argument("--networks", nargs="+", default=["resnet20", "vgg16"])
    given = parser.parse_args()
    rows = []
    for network in given.networks:
        found = portfolio(given.folder / network, network)
        with tempfile.TemporaryDirectory() as place:
            built = Path(place) / "built"
            shutil.copytree(found.path, built, ignore=shutil.ignore_patterns(".cache"))
            with Engine(built) as engine:
                features, runtime = engine._cache._features, Onnxruntime().runtime
            for mode in ("as it is", "onnx", "test", "key"):
                copy = Path(place) / mode.replace(" ", "-")
                shutil.copytree(built, copy)
                rows.append(row_of(network, mode, there(given.cpu, copy, mode, features), features))
                print(table(rows[-1:], list(rows[0])[:-1]), flush=True)
    by = {mode: [row for row in rows if row["mode"] == mode] for mode in ("as it is", "onnx", "test", "key")}

    def total(mode: str, column: str) -> int:
        return sum(row[column] for row in by[mode])

    count = total("as it is", "variants")
    here = "with" if any("avx512f" in f for f in features) else "without"
    worst = max((row["largest_error"] or 0.0 for row in by["as it is"]), default=0.0)
    said = [
        f"{count} files built here ({runtime}, a CPU {here} AVX-512), opened as they are on {given.cpu}: "
        f"{total('as it is', 'wrong_without_an_error')} answer wrongly without an error (relative error up to "
        f"{worst:.2g}), {total('as it is', 'raised')} raise when they are run, {total('as it is', 'right')} are right.",
        f"The ONNX files there: {total('onnx', 'right')} of {total('onnx', 'variants')} right.",
        f"Found on purpose in spite of the key: {total('test', 'refused')} of {total('test', 'variants')} refused by "
        f"the self test before use and built again, then {total('test', 'right')} right.",
        f"With the key: features differ there ({all(r['other_features'] for r in by['key'])}), so that no entry is "
        f"found and each is built: {total('key', 'right')} of {total('key', 'variants')} right.",
    ]
    print("\n".join(said))
    keep(
        Run("runtime_foreign_cpu", f"Caches built on one CPU, opened on another ({given.cpu}, emulated)."),
        rows,
        said,
    )


if __name__ == "__main__":
    main()
