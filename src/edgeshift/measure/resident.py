# SPDX-License-Identifier: Apache-2.0
"""The process whose memory is measured: opens one ONNX file, answers, and prints what it held.

Run by `edgeshift.measure.memory` as `python -m edgeshift.measure.resident`.
"""

import json
import sys
from pathlib import Path

import numpy as np

from edgeshift.core.errors import EdgeShiftError
from edgeshift.formats import open_onnx

STATUS = Path("/proc/self/status")
KIB = 1024


def status(field: str) -> int:
    """A field of `/proc/self/status`, such as VmHWM, in bytes."""
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * KIB
    return 0


def forget_peak() -> bool:
    """Make VmHWM start again from what is resident; False where the kernel does not let us."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def main(arguments: list[str]) -> int:
    """Path, batch size, threads, calls -> one JSON line with bytes."""
    path, batch_size, threads, calls = arguments[0], *map(int, arguments[1:4])
    forgotten = forget_peak()
    # Where the peak cannot be forgotten, the import's own peak counts as baseline: the rest is a lower bound.
    baseline = status("VmRSS") if forgotten else status("VmHWM")
    try:
        session = open_onnx(Path(path), threads)
        shape = [size if isinstance(size, int) else 1 for size in session.input_shape]
        inputs = np.zeros((batch_size, *shape), np.float32)
        for _ in range(calls):
            session.run(inputs)
    except EdgeShiftError as error:
        print(json.dumps({"error": str(error)}))
        return error.exit_code
    peak = status("VmHWM")
    print(json.dumps({"baseline": baseline, "peak": peak, "runtime": session.runtime}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
