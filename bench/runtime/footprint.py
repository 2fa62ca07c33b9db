# SPDX-License-Identifier: Apache-2.0
"""What `pip install edgeshift` takes on a device: size of the base install, time and memory of importing it.

    python -m bench.runtime.footprint DIR

DIR gets a virtual environment with this package and its base dependencies, from the package index.
"""

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from bench.record import Run, keep, table

ROOT = Path(__file__).parents[2]
IMPORTS = ("edgeshift", "edgeshift.runtime", "edgeshift.serve", "edgeshift.cli")
PROGRAM = """
import json, resource, sys, time
start = time.perf_counter()
__import__(sys.argv[1])
took = (time.perf_counter() - start) * 1e3
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "torch" in sys.modules]))
"""


def size_mb(folder: Path) -> float:
    """Of all files below a folder, in MB of 1024 * 1024 bytes."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file()) / (1 << 20)


def installed(folder: Path) -> list[dict[str, Any]]:
    """Rows: the environment as a whole, and each package that takes a megabyte."""
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    place = next((folder / "lib").glob("python*/site-packages"))
    before = size_mb(folder)
    constraints = ROOT / "constraints.txt"
    command = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), str(ROOT)]
    subprocess.run(command, check=True)
    rows = [{"what": "base install without pip", "size_mb": size_mb(folder) - before}]
    parts = {p.name: size_mb(p) for p in place.iterdir() if p.is_dir() and p.suffix not in (".dist-info",)}
    shown = sorted(parts, key=lambda name: -parts[name])
    rows += [
        {"what": n, "size_mb": parts[n]} for n in shown if parts[n] >= 1 and n not in ("pip", "setuptools")
    ]
    return rows


def imported(python: Path, module: str, repeats: int) -> dict[str, Any]:
    """Fastest and median import in fresh interpreters, and the peak of resident memory."""
    found = []
    for _ in range(repeats):
        done = subprocess.run(
            [str(python), "-c", PROGRAM, module], capture_output=True, text=True, check=True, cwd="/"
        )
        found.append(json.loads(done.stdout))
    times = sorted(took for took, _, _ in found)
    return {
        "what": f"import {module}",
        "import_least_ms": times[0],
        "import_p50_ms": times[len(times) // 2],
        "peak_mb": max(peak for _, peak, _ in found),
        "torch": any(heavy for _, _, heavy in found),
    }


def main() -> None:
    """Install, import, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/bench_base"))
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    sizes = installed(given.folder)
    times = [imported(given.folder / "bin" / "python", module, given.repeats) for module in IMPORTS]
    print(table(sizes, ("what", "size_mb")))
    print(table(times, list(times[0])))
    said = [
        f"The base install takes {sizes[0]['size_mb']:.0f} MB, its own code "
        f"{sum(r['size_mb'] for r in sizes if r['what'] == 'edgeshift'):.1f} MB.",
        *(
            f"{r['what']}: {r['import_p50_ms']:.0f} ms (median), {r['import_least_ms']:.0f} at best, "
            f"{r['peak_mb']:.0f} MB resident, {'with' if r['torch'] else 'without'} torch."
            for r in times
        ),
    ]
    print("\n".join(said))
    keep(
        Run(
            "runtime_footprint",
            f"Size and import time of the base install, Python {sys.version_info.major}.{sys.version_info.minor}.",
            repeats=f"{given.repeats} fresh interpreters for each import",
            spread="least and median",
        ),
        [*sizes, *times],
        said,
    )


if __name__ == "__main__":
    main()
