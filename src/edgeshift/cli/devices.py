# SPDX-License-Identifier: Apache-2.0
"""`edgeshift devices`: the devices that are known by name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeshift.devices import DeviceProfile


def devices(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, profile.json files, or this; all names if left out.")
    ] = None,
    add: Annotated[Path | None, typer.Option(help="Profile to keep among your devices.")] = None,
    name: Annotated[str, typer.Option(help="With --add: what to call it.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the profiles as JSON, nothing else.")] = False,
) -> None:
    """List the known devices, show one, compare several, or add one that was probed.

    Added devices lie in devices/ below the folder that EDGESHIFT_DATA names.

    [bold]Examples[/bold]

      edgeshift devices
      edgeshift devices raspberry-pi-4 raspberry-pi-5 this
      edgeshift devices --add pi5.json --name my-pi
    """
    from dataclasses import asdict

    from edgeshift.cli.result import print_json
    from edgeshift.devices import device, import_profile
    from edgeshift.devices import names as known

    if add is not None:
        place = import_profile(add, name)
        typer.echo(f"Added: {place}")
        return
    found = [device(each) for each in names or known()]
    if json:
        print_json([asdict(profile) for profile in found])
        return
    _table(found)
    if len(found) == 1:
        for field, source in sorted(found[0].sources.items()):
            typer.echo(f"{field}: {source}")


def _table(found: "list[DeviceProfile]") -> None:
    from rich.console import Console
    from rich.table import Table

    from edgeshift.devices.profile import NUMBERS

    table = Table("", *(profile.name for profile in found), box=None)
    for field in ("chip", "isa", "runtime", "precision", *NUMBERS):
        values = [getattr(profile, field) for profile in found]
        if any(values):
            table.add_row(
                field, *(f"{v:g}" if isinstance(v, int | float) and v else str(v or "-") for v in values)
            )
    keys = sorted({key for profile in found for key in profile.probe.get("summary", {})})
    for key in keys:
        values = [profile.probe.get("summary", {}).get(key) for profile in found]
        table.add_row(key, *("-" if v is None else f"{v:g}" for v in values))
    Console().print(table)
