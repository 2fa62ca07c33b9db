# SPDX-License-Identifier: Apache-2.0
"""`tests.runtime` becomes importable, whatever pytest's import mode is."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from edgeshift.portfolio import Portfolio
from tests.runtime.made import ladder


@pytest.fixture
def three(tmp_path: Path) -> Portfolio:
    """Variants "small", "middle" and "large", whose answers tell them apart."""
    return ladder(tmp_path / "p")
