# SPDX-License-Identifier: Apache-2.0
"""`edgeshift publish` and `edgeshift rollback`: which generation of a portfolio is current."""

from pathlib import Path
from typing import Annotated

import typer


def publish(
    folder: Annotated[Path, typer.Argument(help="Portfolio to publish.")],
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, help="Then keep only this many generations and sweep the rest."),
    ] = None,
) -> None:
    """Give a portfolio the next number, so that devices can go back to it later.

    Its manifest and a list of checksums are written to generations/ and never again; generations share the files
    that are the same in them.

    [bold]Examples[/bold]

      edgeshift publish build/digits
      edgeshift publish build/digits --keep 3
    """
    from edgeshift.portfolio import Portfolio

    published = Portfolio.open(folder).publish()
    typer.echo(f"generation {published.generation} of {folder} is current")
    if keep is not None:
        gained = published.sweep(keep)
        typer.echo(f"kept {', '.join(map(str, published.generations()))}; {gained} bytes freed")


def rollback(
    folder: Annotated[Path, typer.Argument(help="Portfolio to take back.")],
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Generation; without it, the one before.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Key that must have signed that generation.")
    ] = None,
    least_generation: Annotated[
        int, typer.Option("--least-generation", min=0, help="Never go back below this one.")
    ] = 0,
) -> None:
    """Make an earlier generation current again.

    The generation that is left stays published.

    [bold]Examples[/bold]

      edgeshift rollback build/digits
      edgeshift rollback build/digits --to 3 --public-key release.key.pub
    """
    from edgeshift.portfolio import Portfolio

    back = Portfolio.open(folder).rolled_back(to, public_key, least_generation)
    typer.echo(f"generation {back.generation} of {folder} is current")
