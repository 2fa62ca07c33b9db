# SPDX-License-Identifier: Apache-2.0
"""Portfolios to report on; `tests.reports` becomes importable, whatever pytest's import mode is."""

import sys
from pathlib import Path

import pytest

from edgeshift.portfolio import Portfolio

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reports.made import empty, filled


@pytest.fixture(scope="session")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Portfolio:
    """Eight variants."""
    folder = tmp_path_factory.mktemp("reports") / "portfolio"
    return filled(folder, ("dense", *(f"level-{i}" for i in range(1, 8))))


@pytest.fixture
def nameless(tmp_path: Path) -> Portfolio:
    """A portfolio without variants."""
    return empty(tmp_path / "empty")


@pytest.fixture
def hostile(tmp_path: Path) -> Portfolio:
    """Variants whose names are markup."""
    names = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", '"{{data}}" & <b>')
    return filled(tmp_path / "hostile", names)
