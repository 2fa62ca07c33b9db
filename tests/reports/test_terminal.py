# SPDX-License-Identifier: Apache-2.0
from io import StringIO

import pytest
from rich.console import Console

from edgeshift.core.errors import BadValue
from edgeshift.portfolio import Portfolio
from edgeshift.reports import table


def shown(portfolio: Portfolio, width: int) -> str:
    """The table as a terminal of that width shows it."""
    console = Console(width=width, file=StringIO(), force_terminal=False)
    console.print(table(portfolio))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_eighty_columns_hold_every_cell(portfolio: Portfolio) -> None:
    text = shown(portfolio, 80)
    assert "…" not in text
    assert "● level-4 91.49 %    92.02 % 0.742 ms  1.90x  102 k   2.67x 18.5 M 37.6 MB" in text


def test_the_reference_comes_first_and_has_no_mark_here(portfolio: Portfolio) -> None:
    assert shown(portfolio, 80).splitlines()[1].startswith("  dense ")


def test_names_are_text_not_markup(hostile: Portfolio) -> None:
    assert "<script>alert(1)</script>" in shown(hostile, 200)


def test_an_empty_portfolio_has_no_table(nameless: Portfolio) -> None:
    with pytest.raises(BadValue, match="must be at least one to report on, got 0"):
        table(nameless)
