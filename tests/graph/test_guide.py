# SPDX-License-Identifier: Apache-2.0
"""What docs/guides/shrinking.md tells a reader to type works, in its order."""

import re
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "shrinking.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RECORDS = GUIDE.parents[2] / "bench" / "records"


def test_the_blocks_of_the_guide_run() -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"{GUIDE.name}, block {number}", "exec"), names)
    assert len(names["levels"]) == 4


def test_every_record_that_the_guide_names_is_there() -> None:
    names = set(re.findall(r"`(shrink_[a-z0-9_]+)`", TEXT))
    assert len(names) == 9
    assert [name for name in names if not (RECORDS / name).is_dir()] == []
