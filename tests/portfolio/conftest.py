# SPDX-License-Identifier: Apache-2.0
"""Portfolios with real files; `tests.portfolio` becomes importable, whatever pytest's import mode is."""

import sys
from pathlib import Path

import pytest

from edgeshift.portfolio import Portfolio

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.portfolio.made import DATA, MODEL, RECIPE, draft, files


@pytest.fixture
def empty(tmp_path: Path) -> Portfolio:
    return Portfolio.create(tmp_path / "p", MODEL, DATA, RECIPE)


@pytest.fixture
def two(empty: Portfolio) -> Portfolio:
    return empty.add(draft("level-0"), files(0)).add(draft("level-1", 0.8, 1.0), files(1))
