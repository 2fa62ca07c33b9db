# SPDX-License-Identifier: Apache-2.0
"""`edgeshift probe`: micro-benchmarks of this device, for predictors that never saw it."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen


def probe(
    out: Annotated[Path, typer.Option(help="Profile to write.")] = Path("device.json"),
    name: Annotated[str, typer.Option(help="What to call the device; the file's name if left out.")] = "",
    seconds: Annotated[float, typer.Option(help="About how long to measure.")] = 120,
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="A third of the cases, 15 seconds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON, nothing else.")] = False,
) -> None:
    """Measure layers of all kinds and sizes in ONNX Runtime and write this device's profile.

    Convolutions, depthwise and linear layers, element-wise operators, pooling; steps of the vector width, launch
    time, bandwidth. Needs no torch. Other work on the device makes the numbers worse; the spread says how much.

    [bold]Examples[/bold]

      edgeshift probe --out pi5.json
      edgeshift devices --add pi5.json
      edgeshift probe --quick --threads 4 --out pi5-4.json
    """
    from dataclasses import asdict

    from edgeshift.cli.result import print_json, typed
    from edgeshift.devices import probe as run
    from edgeshift.devices import write_profile
    from edgeshift.devices.profile import checked_name

    called = checked_name(name or out.stem.lower())
    found = run(called, 15 if quick else seconds, threads, Screen(quiet=json), quick=quick)
    write_profile(found, out)
    if json:
        print_json(asdict(found))
        return
    for key, value in sorted(found.probe["summary"].items()):
        typer.echo(f"{key:>16}  {value:g}")
    typer.echo(f"\nProfile: {out}\nNext:    {typed()} devices --add {out}")
