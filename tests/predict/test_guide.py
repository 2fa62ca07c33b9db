# SPDX-License-Identifier: Apache-2.0
"""What docs/guides/prediction.md tells a reader to type works, in its order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "prediction.md"
BLOCKS = re.findall(
    r"^```(bash|python)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
RECORDS = GUIDE.parents[2] / "bench" / "records"


@pytest.mark.slow
def test_the_blocks_of_the_guide_run(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, text in BLOCKS:
        start = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*start, text],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_every_record_that_the_guide_names_is_there() -> None:
    names = re.findall(r"`((?:predict|plan)_[a-z0-9_*]+)`", GUIDE.read_text(encoding="utf-8"))
    assert len(names) >= 8
    assert [name for name in names if not list(RECORDS.glob(name))] == []
