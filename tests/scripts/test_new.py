# SPDX-License-Identifier: Apache-2.0
import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edgeshift.core.registry import read_card, shelves

ROOT = Path(__file__).resolve().parents[2]
SAYS = "Weights times gradients."


def new(*words: str, root: Path) -> subprocess.CompletedProcess[str]:
    """The script, writing below `root`."""
    line = [sys.executable, str(ROOT / "scripts" / "new.py"), *words, "--says", SAYS, "--root", str(root)]
    return subprocess.run(line, capture_output=True, text=True)


@pytest.mark.parametrize("folder", [s.folder for s in shelves()])
def test_every_shelf_takes_a_plug_in_that_python_and_the_linter_read(folder: str, tmp_path: Path) -> None:
    done = new(folder, "brand_new", root=tmp_path)
    assert done.returncode == 0, done.stderr
    plugin = tmp_path / "src/edgeshift" / folder / "brand_new.py"
    assert (read_card(plugin).name, read_card(plugin).says) == ("brand_new", SAYS)
    assert "BrandNew" in [n.name for n in ast.parse(plugin.read_text()).body if isinstance(n, ast.ClassDef)]
    rules = "--isolated --line-length 200 --select E,F --quiet".split()  # noqa: SIM905 - as typed
    files = [str(plugin), str(tmp_path / "tests" / folder / "test_brand_new.py")]
    lint = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, *files], capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stdout


def test_the_test_fails_until_it_is_written(tmp_path: Path) -> None:
    new("sparsity/criteria", "brand_new", root=tmp_path)
    text = (tmp_path / "tests/sparsity/criteria/test_brand_new.py").read_text()
    assert 'pytest.fail("write the answer down by hand and compare")' in text


def test_the_plug_in_has_the_methods_of_its_contract(tmp_path: Path) -> None:
    new("sparsity/criteria", "brand_new", root=tmp_path)
    text = (tmp_path / "src/edgeshift/sparsity/criteria/brand_new.py").read_text()
    assert "class BrandNew(Criterion):" in text
    assert "def score(self, weight: Tensor, stat: Tensor | None=None) -> Tensor:" in text


def test_a_shelf_that_is_missing_gets_the_near_one(tmp_path: Path) -> None:
    done = new("sparsity/criterion", "brand_new", root=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "no shelf named 'sparsity/criterion'; did you mean 'sparsity/criteria'?" in done.stderr


@pytest.mark.parametrize("name", ["Taylor", "no-dash", "_private", "9lives"])
def test_a_name_that_is_no_plug_in_name_is_refused(name: str, tmp_path: Path) -> None:
    done = new("sparsity/criteria", name, root=tmp_path)
    assert (
        f"name must be lower case letters, digits and _, starting with a letter, got '{name}'" in done.stderr
    )


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    assert (
        "name must be free in sparsity/criteria, got 'magnitude'"
        in new("sparsity/criteria", "magnitude", root=tmp_path).stderr
    )
