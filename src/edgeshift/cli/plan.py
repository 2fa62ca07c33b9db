# SPDX-License-Identifier: Apache-2.0
"""`edgeshift plan`: the variant for a device and its limits, for a fleet, or the row of a table."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen
from edgeshift.core.errors import BadValue


def plan(
    folder: Annotated[Path | None, typer.Argument(help="Portfolio to choose from.")] = None,
    limits: Annotated[
        str, typer.Option(help="Such as 'p95<=20ms@batch=1,clock=0.6; size<=2MB; accuracy>=91%'.")
    ] = "",
    device: Annotated[
        str,
        typer.Option(
            help="Device by name, profile.json, or JSON with name and latency_ms of the variants measured on it."
        ),
    ] = "",
    fleet: Annotated[Path | None, typer.Option(help="CSV: one device a row, with its limits.")] = None,
    loss: Annotated[
        float, typer.Option(help="Points of accuracy a fleet's device may lose in the mean.")
    ] = 0.3,
    table: Annotated[Path | None, typer.Option(help=".npz table of networks on devices.")] = None,
    hold_out: Annotated[str, typer.Option(help="The table's device to plan for, as if it were new.")] = "",
    solver: Annotated[str, typer.Option(help="Name of a solver; see edgeshift list solver.")] = "scan",
    predictor: Annotated[str, typer.Option(help="Name of a predictor, for a table.")] = "device_net",
    calibrate: Annotated[int, typer.Option(help="Rows measured to fit the predictor.")] = 20,
    verify: Annotated[int, typer.Option(help="Rows measured to verify; 0 trusts the margin.")] = 4,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Plan file to write; a folder for a fleet.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Choose the most accurate variant inside the limits, or say which limit cannot be kept.

    Quantities: latency (median), p95, energy, memory, size, and accuracy, which is a floor. After @ stands the
    operating point: batch, clock (share of the highest), threads, runtime.

    A fleet's columns: device, limits by name and unit (latency_ms, p95_ms@batch=32, memory_bytes, size_bytes,
    accuracy), and speed (over the portfolio's machine) or macs_per_ms, bytes_per_ms, overhead_ms; clock; error.

    [bold]Examples[/bold]

      edgeshift plan build/mine --limits 'p95<=20ms; size<=2MB' --out plan.json
      edgeshift plan build/mine --limits 'latency<=5ms' --device raspberry-pi-5
      edgeshift plan build/mine --fleet fleet.csv --out build/fleet
      edgeshift plan --table nb201.npz --hold-out raspi4 --limits 'latency<=9ms' --json
    """
    asked = [name for name, given in (("FOLDER", folder), ("--table", table)) if given]
    if len(asked) != 1:
        raise BadValue("what to plan on", " and ".join(asked) or None, "a portfolio's folder, or --table")
    given = {"--limits": limits, "--device": device, "--fleet": fleet, "--hold-out": hold_out, "--out": out}
    way, idle = _idle(fleet, table)
    for option in [name for name in idle if given[name]]:
        raise BadValue(option, str(given[option]), f"left out {way}")
    if table is not None:
        _on_table(table, hold_out, limits, (solver, predictor), (calibrate, verify, seed), json=json)
    elif fleet is not None:
        assert folder is not None  # one of folder and table is given
        _on_fleet(folder, fleet, out, loss, json=json)
    else:
        assert folder is not None
        _on_portfolio(folder, limits, device, solver, out, json=json)


def _idle(fleet: Path | None, table: Path | None) -> tuple[str, tuple[str, ...]]:
    """Options that would change nothing, and why."""
    if table is not None:
        return "with --table, which has devices of its own and only prints", ("--device", "--fleet", "--out")
    if fleet is not None:
        return "with --fleet, whose rows have limits of their own", ("--limits", "--device", "--hold-out")
    return "without --table", ("--hold-out",)


def _on_portfolio(
    folder: Path, limits: str, device: str, solver: str, out: Path | None, *, json: bool
) -> None:
    from edgeshift.cli.result import print_json
    from edgeshift.core.files import read_json
    from edgeshift.core.plan_file import plan_to_json, write_plan
    from edgeshift.plan.choose import plan_portfolio
    from edgeshift.plan.limits import parse
    from edgeshift.portfolio import Portfolio

    # A file of times is a device by its measurements; a profile's file and a name are looked up.
    times = read_json(Path(device)) if device.endswith(".json") and Path(device).is_file() else {}
    asked = times if "latency_ms" in times else device or None
    found = plan_portfolio(Portfolio.open(folder), parse(limits), asked, solver)
    if out is not None:
        write_plan(out, found)
    if json:
        print_json(plan_to_json(found))
        return
    for line in found.says:
        typer.echo(line)
    if out is not None:
        typer.echo(f"Written: {out}")


def _on_fleet(folder: Path, fleet: Path, out: Path | None, loss: float, *, json: bool) -> None:
    from dataclasses import asdict

    from edgeshift.cli.result import print_json
    from edgeshift.plan.fleet import PICKS, PLAN, Wanted, plan_fleet
    from edgeshift.portfolio import Portfolio

    if out is None:
        raise BadValue("--out", out, "a folder for the fleet's plan")
    if not 0 <= loss <= 100:
        raise BadValue("--loss", loss, "points of accuracy, 0 to 100")
    portfolio = Portfolio.open(folder)
    found = plan_fleet(portfolio, fleet, out, Wanted(loss / 100), Screen(quiet=json))
    if json:
        print_json(asdict(found))
        return
    typer.echo(f"{found.rows:,} devices; {found.unmet:,} have limits that no variant keeps.")
    fewest = "the fewest that do" if found.smallest else "found greedily; fewer may do"
    typer.echo(f"{len(found.variants)} variants to ship, {fewest}:")
    for name in found.variants:
        typer.echo(f"  {portfolio.find(name).name:<12} {name}  {found.devices.get(name, 0):>10,} devices")
    typer.echo(
        f"A device loses {100 * found.mean_loss:.3f} points in the mean, {100 * found.worst_loss:.2f} at most."
    )
    typer.echo(f"Written: {out / PICKS}, {out / PLAN}")


def _on_table(
    table: Path, device: str, limits: str, names: tuple[str, str], counts: tuple[int, int, int], *, json: bool
) -> None:
    from dataclasses import asdict

    from edgeshift.cli.result import print_json
    from edgeshift.plan.choose import Asked, decide, hold_out
    from edgeshift.plan.limits import parse
    from edgeshift.predict.table import read_table

    if not device:
        raise BadValue("--hold-out", device, "a device of the table")
    asked = Asked(parse(limits), names[0], names[1], counts[0], counts[1], seed=counts[2])
    found = decide(hold_out(read_table(table), device, asked), asked)
    if json:
        print_json({key: None if value != value else value for key, value in asdict(found).items()})
        return
    for line in found.says:
        typer.echo(line)
    kept = "keeps" if found.met else "breaks"
    typer.echo(
        f"Row {found.row}: accuracy {found.accuracy:.4f}, true cost {found.cost:.4g}, {kept} the limit."
    )
    typer.echo(f"True optimum: row {found.optimum_row}, accuracy {found.optimum_accuracy:.4f}.")
    typer.echo(
        f"{found.measurements} measurements; fitted in {found.fit_ms:.0f} ms, decided in {found.decide_ms:.1f} ms."
    )
