# SPDX-License-Identifier: Apache-2.0
"""`edgeshift sign`: publish a portfolio and sign it; or make a key."""

from pathlib import Path
from typing import Annotated

import typer


def sign(
    folder: Annotated[Path | None, typer.Argument(help="Portfolio to publish and sign.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="File with your private key.")] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", help="Make a key: this file, and FILE.pub to hand out.")
    ] = None,
) -> None:
    """Publish a portfolio under the next number and sign its list of checksums with Ed25519.

    Devices that were given the public key refuse a portfolio that is unsigned, altered, or mixed from two.

    [bold]Examples[/bold]

      edgeshift sign --new-key release.key
      edgeshift sign build/digits --key release.key
      edgeshift verify build/digits --public-key release.key.pub
    """
    from edgeshift.core.errors import BadValue
    from edgeshift.portfolio import Portfolio, keys

    if new_key is not None:
        if folder is not None or key is not None:
            raise BadValue("--new-key", str(new_key), "given alone")
        made = keys.new(new_key)
        typer.echo(f"key {made.name}: keep {new_key} secret, hand out {new_key}.pub")
        return
    if folder is None or key is None:
        raise BadValue("arguments of sign", "none", "a portfolio and --key, or --new-key")
    signed = Portfolio.open(folder).sign(key)
    typer.echo(f"generation {signed.generation} of {folder} is signed by key {keys.private(key).public.name}")
