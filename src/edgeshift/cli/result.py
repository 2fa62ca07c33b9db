# SPDX-License-Identifier: Apache-2.0
"""What a command leaves on stdout: the table of variants and the next command, or JSON."""

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgeshift.core.values import to_json

if TYPE_CHECKING:
    from edgeshift.portfolio import Portfolio

# The report's name in a portfolio's folder.
PAGE = "report.html"


def print_json(value: Any) -> None:
    """One JSON value on stdout, for scripts."""
    typer.echo(json_module.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def print_table(portfolio: "Portfolio") -> None:
    """The variants as a table, as wide as the terminal."""
    from rich.console import Console

    from edgeshift.reports import table

    Console().print(table(portfolio))


def typed() -> str:
    """How the user called the command, such as ".venv/bin/edgeshift"."""
    return sys.argv[0] if Path(sys.argv[0]).name == "edgeshift" else "edgeshift"


def show(portfolio: "Portfolio", *, json: bool) -> None:
    """The variants and the one next command to type, or everything as JSON."""
    if json:
        front = [variant.id for variant in portfolio.front()]
        variants = [to_json(variant) for variant in portfolio.variants]
        print_json({"path": str(portfolio.path), "variants": variants, "front": front})
        return
    print_table(portfolio)
    page = portfolio.path / PAGE
    if page.exists():
        typer.echo(f"\nReport: {page} (open it in a browser)")
    typer.echo(f"Next:   {typed()} {'verify' if page.exists() else 'report'} {portfolio.path}")
