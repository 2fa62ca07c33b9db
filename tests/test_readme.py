# SPDX-License-Identifier: Apache-2.0
"""What the README tells a reader to type works, in its order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"^```(bash|python)(?: (\S+))?\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader stands; later blocks find what earlier ones left."""
    return tmp_path_factory.mktemp("reader")


@pytest.mark.parametrize(
    ("language", "name", "text"), BLOCKS, ids=[f"{b[0]}-{i}" for i, b in enumerate(BLOCKS)]
)
def test_a_block_of_the_readme_runs(folder: Path, language: str, name: str, text: str) -> None:
    if name:
        (folder / name).write_text(text)
        return
    if language == "bash":
        command = ["bash", "-euo", "pipefail", "-c", text.replace("--epochs", "--quick --epochs")]
    else:
        command = [sys.executable, "-W", "error", "-c", text]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_shows_shell_and_python() -> None:
    assert {language for language, _, _ in BLOCKS} == {"bash", "python"}
