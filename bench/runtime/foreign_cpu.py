# SPDX-License-Identifier: Apache-2.0
"""A cache built on this CPU, opened on an older one: refused, and built again.

    python -m bench.runtime.foreign_cpu --cpu Nehalem

The older CPU is emulated by `qemu-x86_64` (package qemu-user). Four runs there: the built file opened as it is, which
no check of the file itself can find fault with; the engine with its key for this CPU, which must not find the entry;
the engine made to find it, where the self test must refuse it; and the portable ONNX file as the control.
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

# Opens things on the other CPU and prints what came out; the arguments are the portfolio, its cache and a mode.
PROGRAM = """
import json, sys; from pathlib import Path
from edgeshift.portfolio import Golden, Portfolio
from edgeshift.runtime.backends.onnxruntime import Onnxruntime
from edgeshift.runtime.cache import Cache
from edgeshift.runtime.ready import Loader, difference
folder, mode, features = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
found, backend, cache = Portfolio.open(folder), Onnxruntime(), Cache(folder / ".cache")
mine = list(cache._features)
if mode != "key":
    cache._features = tuple(features)
errors, notes = [], []
for variant in found:
    if mode in ("key", "test"):
        loaded = Loader(found, backend, cache, lambda s: backend.open(s, 1)).load(variant)
        errors.append(loaded.error)
        notes.append(loaded.note)
        continue
    golden = Golden.from_bytes(found.read(variant, "golden"))
    path = cache.find(cache.key(variant.files["onnx"].sha256, backend))
    model = backend.open(path if mode == "as it is" else found.read(variant, "onnx"), 1)
    errors.append(difference(model.run({"input": golden.inputs})["output"], golden.outputs))
print(json.dumps({"errors": errors, "notes": notes, "features": mine}))
"""


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
        return {
            "errors": [],
            "notes": [],
            "features": [],
            "exit": done.returncode,
            "says": done.stderr[-300:],
        }
    return dict(json.loads(done.stdout.strip().splitlines()[-1]), exit=0, says="")


def main() -> None:
    """Build here, open there, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", default="Nehalem")
    parser.add_argument("--folder", type=Path, help="a portfolio of bench.runtime.made; made if not given")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "p"
        if given.folder is None:
            portfolio(folder, quick=True)
        else:
            shutil.copytree(given.folder, folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        with Engine(folder) as engine:
            features, runtime = engine._cache._features, Onnxruntime().runtime
        for mode in ("as it is", "onnx", "test", "key"):
            found = there(given.cpu, folder, mode, features)
            rows.append(
                {
                    "mode": mode,
                    "variants": len(found["errors"]),
                    "largest_error": max(found["errors"], default=float("nan")),
                    "refused": sum("cached file refused" in note for note in found["notes"]),
                    "other_features": found["features"] != list(features),
                    "exit": found["exit"],
                    "says": found["says"],
                }
            )
            print(table(rows[-1:], list(rows[0])[:6]), flush=True)
    by = {row["mode"]: row for row in rows}
    said = [
        f"Files built here ({runtime}), opened as they are on {given.cpu}: exit code {by['as it is']['exit']}, "
        f"largest relative error {by['as it is']['largest_error']:.2g}; "
        f"the ONNX files there: {by['onnx']['largest_error']:.2g}.",
        f"Found on purpose in spite of the key: {by['test']['refused']} of {by['test']['variants']} refused by the "
        f"self test and built again, then largest error {by['test']['largest_error']:.2g}.",
        f"With the key: features differ there ({by['key']['other_features']}), so the entries are not found; largest "
        f"error {by['key']['largest_error']:.2g}.",
    ]
    print("\n".join(said))
    keep(
        Run("runtime_foreign_cpu", f"A cache built on one CPU, opened on another ({given.cpu}, emulated)."),
        rows,
        said,
    )


if __name__ == "__main__":
    main()
