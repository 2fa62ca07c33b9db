# SPDX-License-Identifier: Apache-2.0
"""`edgeshift ratios`: how much of a network to keep at each clock."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.core.errors import BadValue


def ratios(
    folder: Annotated[Path, typer.Argument(help="Portfolio of the network, measured on the device.")],
    frequencies: Annotated[str, typer.Option(help="Clocks of the device over its full clock, falling.")],
    target_ms: Annotated[
        float | None,
        typer.Option(help="Latency to keep; default: that of the largest variant at the first clock."),
    ] = None,
    fixed: Annotated[
        float, typer.Option(help="Share of a latency that does not stretch as the clock falls, 0..1.")
    ] = 0.0,
    margin: Annotated[
        float,
        typer.Option(
            help="Share of the target that smaller variants stay under, so that a drift changes nothing."
        ),
    ] = 0.05,
    json: Annotated[
        bool, typer.Option("--json", help="Print clocks and shares as JSON, nothing else.")
    ] = False,
) -> None:
    """Say which share of the cost keeps the latency at each clock, from what the variants of a portfolio took.

    At relative clock f a variant takes a / f + b. The shares are the ratios to train with --method all_in_one.

    [bold]Examples[/bold]

      edgeshift ratios build/mine --frequencies 1,0.8,0.6,0.5,0.4
      edgeshift ratios build/mine --frequencies 1,0.6 --target-ms 4 --fixed 0.1
    """
    from edgeshift.cli.result import print_json
    from edgeshift.measure.ratios import curve_of, ratios_for
    from edgeshift.portfolio import Portfolio

    try:
        clocks = [float(word) for word in frequencies.split(",")]
    except ValueError as error:
        raise BadValue("--frequencies", frequencies, "numbers, such as 1,0.8,0.6") from error
    found = ratios_for(clocks, curve_of(Portfolio.open(folder).variants, fixed=fixed), target_ms, margin)
    if json:
        print_json({"frequencies": clocks, "ratios": list(found)})
        return
    typer.echo(",".join(f"{share:.3f}" for share in found))
