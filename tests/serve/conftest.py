# SPDX-License-Identifier: Apache-2.0
"""Portfolios to serve; `tests.serve` becomes importable, whatever pytest's import mode is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


from edgeshift.serve.service import Service
from tests.serve.made import TOKEN, Client, portfolio, service


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three variants."""
    return portfolio(tmp_path_factory.mktemp("serve") / "portfolio")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[Service, Client]]:
    """A service with management and its client."""
    with service(folder, token=TOKEN) as pair:
        yield pair


@pytest.fixture
def client(served: tuple[Service, Client]) -> Client:
    """The client alone; nothing is pinned."""
    served[0].switcher.pin(None)
    return served[1]
