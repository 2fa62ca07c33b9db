# SPDX-License-Identifier: Apache-2.0
"""`edgeshift bench`: measure every variant again, on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen
from edgeshift.cli.values import whole_numbers


def bench(
    folder: Annotated[Path, typer.Argument(help="Portfolio to measure.")],
    batch_sizes: Annotated[str, typer.Option(help="Inputs per call, 1,32.")] = "1,32",
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    for_: Annotated[
        str,
        typer.Option(
            "--for", help="Keep the first batch size as samples of this device, for `edgeshift predict`."
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Measure latency and memory of all variants again, one after the other in turns.

    Figures of the same quantity, batch size and thread count are replaced; others stay.

    [bold]Examples[/bold]

      edgeshift bench build/digits
      edgeshift bench build/digits --batch-sizes 1,8,64 --threads 2
      edgeshift bench build/digits --for my-laptop
    """
    from edgeshift.cli.result import show
    from edgeshift.derive import bench as run
    from edgeshift.portfolio import Portfolio

    sizes = whole_numbers("--batch-sizes", batch_sizes)
    portfolio = run(Portfolio.open(folder), batch_sizes=sizes, threads=threads, progress=Screen(quiet=json))
    if for_:
        from edgeshift.predict.variants import SAMPLES, append, networks

        latency = [v.measured("latency", sizes[0], threads).value for v in portfolio.variants]
        append(folder / SAMPLES, networks(portfolio, sizes[0]), for_, latency)
    show(portfolio, json=json)
