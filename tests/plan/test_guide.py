# SPDX-License-Identifier: Apache-2.0
"""What docs/guides/planning.md tells a reader to type works, and what it names is there."""

import re
from pathlib import Path

from edgeshift.plan import SOLVERS

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "planning.md").read_text(encoding="utf-8")
RECORDS = Path(__file__).resolve().parents[2] / "bench" / "records"


def test_the_python_blocks_of_the_guide_run() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    exec("\n".join(blocks), {})


def test_every_record_that_the_guide_names_is_there() -> None:
    names = set(re.findall(r"`(plan_[a-z0-9_]+)`", GUIDE))
    assert len(names) == 7
    assert [name for name in sorted(names) if not (RECORDS / name).is_dir()] == []


def test_every_solver_is_in_the_guide() -> None:
    assert [name for name in SOLVERS.names() if f"`{name}`" not in GUIDE] == []
