# SPDX-License-Identifier: Apache-2.0
"""`edgeshift list`: every plug-in and model name with one line and its paper, read from the cards."""

import sys
from typing import Annotated

import typer

from edgeshift.core.card import Card


def list_(
    shelf: Annotated[str, typer.Argument(help="Show one kind only, such as method; all if left out.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON, nothing else.")] = False,
) -> None:
    """List every plug-in and model name: what it does, what it needs, where it was published.

    In a pipe it is one line each, with tabs between kind, name, purpose, needs and paper.

    [bold]Examples[/bold]

      edgeshift list
      edgeshift list method
      edgeshift list model --json
    """
    from dataclasses import asdict

    from edgeshift.core.errors import UnknownName
    from edgeshift.core.registry import shelves

    cards: dict[str, list[Card]] = {found.noun: found.cards() for found in shelves()}
    cards["model"] = _model_cards()
    if shelf:
        if shelf not in cards:
            raise UnknownName("shelf", shelf, cards)
        cards = {shelf: cards[shelf]}
    if json:
        from edgeshift.cli.result import print_json

        print_json({noun: [asdict(card) for card in found] for noun, found in cards.items()})
        return
    if not sys.stdout.isatty():
        for noun, found in cards.items():
            for card in found:
                typer.echo("\t".join((noun, card.name, card.says, card.needs, card.paper)))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for noun, found in cards.items():
        table = Table("name", "says", "needs", "paper", title=noun, title_justify="left", box=None)
        for card in found:
            table.add_row(card.name, card.says, card.needs, card.paper)
        console.print(table)
        console.print()


def _model_cards() -> list[Card]:
    """One card for each name that MODEL takes, besides your own factories."""
    from edgeshift.core.registry import ROOT, read_card
    from edgeshift.models import ZOO, presets, pretrained

    families = {name: read_card(ROOT / ZOO.folder / f"{name}.py") for name in ZOO.names()}
    known = {name: families[family] for name, (family, _) in presets().items()}
    fresh = [Card(name, family.says, family.paper) for name, family in known.items()]
    trained = [
        Card(name, f"Trained {found.architecture}, {found.figure}.", found.source)
        for name, found in pretrained().items()
    ]
    return fresh + trained
