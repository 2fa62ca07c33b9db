# SPDX-License-Identifier: Apache-2.0
"""`edgeshift nest`: variants that share one set of weights, from one file."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen


def nest(
    folder: Annotated[Path, typer.Argument(help="Portfolio whose variants share one set of weights.")],
    out: Annotated[Path, typer.Option(help="New or empty folder for the nested portfolio.")],
    json: Annotated[bool, typer.Option("--json", help="Print the sizes as JSON, nothing else.")] = False,
) -> None:
    """Put all variants into one file of about the size of the largest.

    The variants must keep whole channels of the same weights, each one's among the next larger one's, as
    --method all_in_one leaves them; batch norms and biases may differ. Served with --mode views, all of
    them use the one mapping of the file; in the other modes each is built on the device.

    [bold]Examples[/bold]

      edgeshift nest build/mine --out build/mine-nested
      edgeshift serve build/mine-nested --mode views --policy frequency
    """
    from edgeshift.cli.result import print_json
    from edgeshift.derive.nested import largest_bytes
    from edgeshift.derive.nested import nest as run
    from edgeshift.portfolio import Portfolio

    found = run(Portfolio.open(folder), out, Screen(quiet=json))
    file, alone = found.variants[0].files["nested"], largest_bytes(found)
    if json:
        sizes = {"variants": len(found), "size_bytes": file.size_bytes, "largest_alone_bytes": alone}
        print_json({**sizes, "file": file.path})
        return
    typer.echo(
        f"{len(found)} variants in one file of {file.size_bytes:,} bytes, "
        f"{file.size_bytes / alone:.3f} times the numbers of {found.variants[0].name} alone: {out}"
    )
