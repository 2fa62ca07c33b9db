# SPDX-License-Identifier: Apache-2.0
"""`edgeshift compare`: several methods under equal epochs and seeds, in one report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeshift.cli.screen import Screen
from edgeshift.cli.values import levels as parse_levels
from edgeshift.cli.values import pairs, whole_numbers
from edgeshift.core.errors import BadValue

PAGE = "comparison.html"


def compare(
    model: Annotated[
        str, typer.Argument(help="Zoo or pretrained name, or package.module:factory of your own code.")
    ],
    data: Annotated[
        str, typer.Option(help="Data-set name, folder of class folders of images, or .npz file.")
    ],
    methods: Annotated[str, typer.Option(help="Methods to compare, a,b,c; the first is the baseline.")],
    out: Annotated[Path, typer.Option(help="Folder for all runs and the report; new, or one to go on in.")],
    epochs: Annotated[int | None, typer.Option(help="Epochs per level of every method.")] = None,
    levels: Annotated[
        str, typer.Option(help="Kept shares, falling: 1,0.5,0.25; the settings' own if left out.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Every method runs once with each: 0,1,2.")] = "0",
    workers: Annotated[int, typer.Option(help="Runs at a time, each a process of one thread.")] = 1,
    weights: Annotated[Path | None, typer.Option(help="Start from this .safetensors file.")] = None,
    settings: Annotated[
        str, typer.Option(help="Settings to start from; the data set's own if left out.")
    ] = "",
    multiple: Annotated[int, typer.Option(help="Round widths up to this with dead channels.")] = 4,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Also train every architecture found from random weights.")
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="Method option, method.key=value; repeatable.")
    ] = None,
    model_option: Annotated[
        list[str] | None, typer.Option(help="Model option, key=value; repeatable.")
    ] = None,
    train_option: Annotated[list[str] | None, typer.Option(help="Training option such as lr=0.1.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Build a portfolio with each method and seed, and lay their fronts over one another.

    All runs have the same epochs per level, levels, data splits and training options.
    Ctrl-C loses at most the levels in work; the same command goes on.

    [bold]Examples[/bold]

      edgeshift compare resnet8 --data digits --methods iterative_magnitude,soft_masking --out build/two
      edgeshift compare resnet20 --data cifar10 --methods iterative_magnitude,rigl --seeds 0,1,2 --out build/c
    """
    from edgeshift.cli.result import print_json
    from edgeshift.derive import Comparison, Job
    from edgeshift.derive import compare as run
    from edgeshift.reports import compared, write_comparison

    job = Job(
        model=model,
        data=data,
        out=out,
        weights=weights,
        model_options=pairs("--model-option", model_option),
        train_options=pairs("--train-option", train_option),
        levels=parse_levels(levels),
        epochs=epochs,
        settings=settings,
        threads=1,
        multiple=multiple,
    )
    comparison = Comparison(
        job=job,
        methods=tuple(methods.split(",")),
        seeds=whole_numbers("--seeds", seeds),
        options=by_method(pairs("--option", option)),
        workers=workers,
        scratch=scratch,
    )
    found = run(comparison, Screen(quiet=json))
    named = {(e.method + (", from scratch" if e.twin else ""), e.seed): p for e, p in found.items()}
    facts = compared(named)
    page = out / PAGE
    write_comparison(facts, page)
    if json:
        print_json(facts)
        return
    for row in facts["methods"]:
        typer.echo(
            f"{row['name']}: hypervolume {row['hypervolume']:.4g}, {row['ratio']:.2f} of the baseline's"
        )
    typer.echo(f"\nReport: {page} (open it in a browser)")


def by_method(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`{"rigl.alpha": 0.2}` -> `{"rigl": {"alpha": 0.2}}`.

    Raises:
        BadValue: If a key names no method.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in options.items():
        method, dot, name = key.partition(".")
        if not dot or not name:
            raise BadValue("--option", key, "method.key=value")
        found.setdefault(method, {})[name] = value
    return found
