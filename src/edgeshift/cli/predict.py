# SPDX-License-Identifier: Apache-2.0
"""`edgeshift predict`: what variants will cost on a device, or how well predictors do on a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeshift.cli.values import whole_numbers
from edgeshift.core.errors import BadValue

if TYPE_CHECKING:
    from edgeshift.predict.hold_out import Judged


def predict(
    folder: Annotated[
        Path | None, typer.Argument(help="Portfolio to predict; left out with --table.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device by name, profile.json, or this.")] = "",
    samples: Annotated[
        str,
        typer.Option(help="Of a portfolio: table of measurements; of a table: how many to allow, 0,5,10,20."),
    ] = "",
    table: Annotated[Path | None, typer.Option(help=".npz of features, latency_ms and devices.")] = None,
    hold_out: Annotated[str, typer.Option(help="With --table: the device that plays the new one.")] = "",
    seeds: Annotated[int, typer.Option(help="With --table: splits to try.")] = 5,
    model: Annotated[str, typer.Option(help="Predictor; see `edgeshift list predictor`.")] = "auto",
    how: Annotated[str, typer.Option(help="Way of choosing what to measure.")] = "variance",
    level: Annotated[float, typer.Option(help="Share of true costs an interval shall hold.")] = 0.9,
    batch_size: Annotated[int, typer.Option(help="Inputs per call, for a portfolio.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="SVG of predicted against measured.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Predict what every variant costs on a device, or judge predictors on a table of measurements.

    Every figure says whether it was measured, predicted (from measurements) or modelled (from a profile).

    [bold]Examples[/bold]

      edgeshift predict build/digits --device raspberry-pi-4
      edgeshift predict --table fleet.npz --hold-out my-phone --samples 0,5,10,20 --json
    """
    if not 0 < level < 1:
        raise BadValue("--level", level, "between 0 and 1")
    if table is not None:
        if not hold_out:
            raise BadValue("--hold-out", hold_out, "a device of the table")
        if seeds < 1:
            raise BadValue("--seeds", seeds, "at least 1")
        counts = whole_numbers("--samples", samples or "0,5,10,20")
        _judge(table, hold_out, counts, seeds, (model, how, level), plot, json=json)
        return
    if folder is None or not device:
        raise BadValue(
            "predict", "no portfolio and device", "DIR --device NAME, or --table FILE --hold-out DEVICE"
        )
    _portfolio(folder, device, Path(samples) if samples else None, (model, level, batch_size), json=json)


def _judge(
    table: Path,
    device: str,
    counts: tuple[int, ...],
    seeds: int,
    words: tuple[str, str, float],
    plot: Path | None,
    *,
    json: bool,
) -> None:
    from dataclasses import asdict

    from edgeshift.cli.result import print_json
    from edgeshift.core.files import write_bytes
    from edgeshift.predict import MODELS
    from edgeshift.predict.hold_out import Trial, hold_out, summary
    from edgeshift.predict.plot import scatter
    from edgeshift.predict.table import read_table

    model, how, level = words
    samples = read_table(table)
    samples.column(device)
    predictor = MODELS.make(model)
    lines: list[dict[str, Any]] = []
    last: Judged | None = None
    for count in counts:
        found = [hold_out(predictor, samples, Trial(device, count, s, how), level) for s in range(seeds)]
        last = found[-1]
        each = [asdict(judged.score) for judged in found]
        lines.append({"samples": count, "seeds": each, **summary([judged.score for judged in found])})
    if plot is not None and last is not None:
        title = f"{device}, {last.prediction.source}"
        write_bytes(plot, scatter(last.prediction, last.truth, title).encode())
    if json:
        # What a table cannot tell is null: no network appears in it twice.
        print_json(
            {"device": device, "model": model, "how": how, "level": level, "kind": "predicted",
             "noise_ceiling": None, "results": lines}
        )  # fmt: skip
        return
    _show_scores(device, lines)


def _show_scores(device: str, lines: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("samples", "MAPE %", "within 10 %", "Spearman", "coverage %", title=device, box=None)
    for line in lines:
        cells = [
            f"{line[f]['mean']:.3g} ({line[f]['least']:.3g} to {line[f]['most']:.3g})"
            for f in ("mape", "within_10", "spearman", "coverage")
        ]
        shown.add_row(str(line["samples"]), *cells)
    Console().print(shown)
    typer.echo("Mean over seeds, least and most in brackets; judged on networks that nothing was fitted on.")


def _portfolio(
    folder: Path, device: str, table: Path | None, words: tuple[str, float, int], *, json: bool
) -> None:
    from edgeshift.cli.result import print_json
    from edgeshift.portfolio import Portfolio
    from edgeshift.predict.variants import ask

    model, level, batch_size = words
    portfolio = Portfolio.open(folder)
    found = ask(portfolio, device, table, model, level, batch_size)
    answer, name = found.prediction, found.device
    rows: list[dict[str, Any]] = [
        {"id": variant.id, "name": variant.name, "latency_ms": float(answer.value[place]),
         "low": float(answer.low[place]), "high": float(answer.high[place]),
         "kind": "measured" if found.measured[place] else found.kind}
        for place, variant in enumerate(portfolio.variants)
    ]  # fmt: skip
    if json:
        print_json({"device": name, "source": answer.source, "level": level, "batch_size": batch_size,
                    "variants": rows})  # fmt: skip
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table("variant", "latency ms", f"{100 * level:.0f} % interval", "kind", title=name, box=None)
    for row in rows:
        span = "" if row["kind"] == "measured" else f"{row['low']:.4g} to {row['high']:.4g}"
        shown.add_row(row["name"], f"{row['latency_ms']:.4g}", span, row["kind"])
    Console().print(shown)
    typer.echo(f"From {answer.source}.")
