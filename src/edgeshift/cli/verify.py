# SPDX-License-Identifier: Apache-2.0
"""`edgeshift verify`: what a portfolio promises, checked again."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen


def verify(
    folder: Annotated[Path, typer.Argument(help="Portfolio to check.")],
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Key that must have signed it; see edgeshift sign.")
    ] = None,
    least_generation: Annotated[
        int, typer.Option("--least-generation", min=0, help="Refuse an older generation, and drafts.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, nothing else.")] = False,
) -> None:
    """Check checksums, shapes and answers of every file, and prove exactness again.

    Exit code 0 if all that could be checked holds, 2 with the first finding if not.

    [bold]Examples[/bold]

      edgeshift verify build/digits
      edgeshift verify build/digits --json
      edgeshift verify build/digits --public-key release.key.pub
    """
    from edgeshift.cli.result import print_json
    from edgeshift.core.values import to_json
    from edgeshift.derive import verify as run
    from edgeshift.portfolio import Portfolio

    checked = run(Portfolio.open(folder, public_key, least_generation), Screen(quiet=json))
    if json:
        print_json(to_json(checked))
        return
    for line in checked.lines():
        typer.echo(line)
