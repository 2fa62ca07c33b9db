# SPDX-License-Identifier: Apache-2.0
"""`edgeshift report`: one HTML file about a portfolio."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="Portfolio to report on.")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; report.html in the portfolio if left out.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print variants and front as JSON, write no HTML.")
    ] = False,
) -> None:
    """Write one self-contained HTML file and print the table of variants.

    The file needs no network and no server: figures, the front, how each variant was trained and proved.

    [bold]Examples[/bold]

      edgeshift report build/digits
      edgeshift report build/digits --out digits.html
    """
    from edgeshift.cli.result import PAGE, print_table, show
    from edgeshift.portfolio import Portfolio

    portfolio = Portfolio.open(folder)
    if json:
        show(portfolio, json=True)
        return
    from edgeshift.reports import write_html

    page = out or folder / PAGE
    write_html(portfolio, page)
    print_table(portfolio)
    typer.echo(f"\nWritten: {page} (open it in a browser)")
