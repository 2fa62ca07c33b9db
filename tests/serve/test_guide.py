# SPDX-License-Identifier: Apache-2.0
"""What docs/guides/serving.md tells a reader to type works, in its order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "serving.md"
BLOCKS = re.findall(
    r"^```(bash|python)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.slow
def test_the_blocks_of_the_guide_run(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        for language, text in BLOCKS:
            start = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
            # To a file: the server that one block leaves behind would hold a pipe open.
            with (tmp_path / "said").open("w+b") as said:
                done = subprocess.run(
                    [*start, text],
                    cwd=tmp_path,
                    env={**os.environ, "PATH": path},
                    stdout=said,
                    stderr=said,
                    check=False,
                )
                said.seek(0)
                assert done.returncode == 0, said.read().decode()
    finally:
        if (tmp_path / "server.pid").exists():
            subprocess.run(["kill", (tmp_path / "server.pid").read_text().strip()], check=False)
