# SPDX-License-Identifier: Apache-2.0
"""What runs on a device or answers in the terminal imports nothing that trains."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

HEAVY = ("torch", "onnx", "sklearn")
SHOW = f"; import sys; print('heavy:', [m for m in {HEAVY!r} if m in sys.modules])"


def run(program: str) -> str:
    """Standard output of a program in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module", ["edgeshift", "edgeshift.cli", "edgeshift.portfolio", "edgeshift.reports", "edgeshift.data"]
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    assert run(f"import {module}{SHOW}").splitlines()[-1] == "heavy: []"


def test_the_list_command_loads_nothing_heavy(record_property: Callable[[str, object], None]) -> None:
    program = (
        "import sys; sys.argv = ['edgeshift', 'list']; from edgeshift.cli import main\n"
        "try:\n    code = main()\nexcept SystemExit as end:\n    code = end.code\nassert not code, code"
    )
    start = time.perf_counter()
    out = run(program + SHOW)
    record_property("seconds", round(time.perf_counter() - start, 3))  # reported: a bound is for bench/
    assert out.splitlines()[-1] == "heavy: []"
