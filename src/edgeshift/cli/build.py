# SPDX-License-Identifier: Apache-2.0
"""`edgeshift build`: one model in, a portfolio of variants out."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen
from edgeshift.cli.values import levels as parse_levels
from edgeshift.cli.values import pairs


def build(
    model: Annotated[
        str, typer.Argument(help="Zoo or pretrained name, or package.module:factory of your own code.")
    ],
    data: Annotated[
        str, typer.Option(help="Data-set name, folder of class folders of images, or .npz file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the portfolio; new, empty, or one to --resume.")],
    weights: Annotated[Path | None, typer.Option(help="Start from this .safetensors file.")] = None,
    method: Annotated[str, typer.Option(help="How weights go; `edgeshift list method` names them.")] = "",
    levels: Annotated[
        str, typer.Option(help="Kept share of the weights per variant, falling: 1,0.5,0.25.")
    ] = "",
    epochs: Annotated[
        int | None, typer.Option(help="Epochs per level; the settings' own if left out.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="Settings to start from; the data set's own if left out.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal variants.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads to train with; all cores if left out.")] = None,
    multiple: Annotated[
        int, typer.Option(help="Round widths up to this with dead channels; 1 = as small as can be.")
    ] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="Measure each variant only briefly.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped build left off.")] = False,
    option: Annotated[list[str] | None, typer.Option(help="Method option, key=value; repeatable.")] = None,
    model_option: Annotated[
        list[str] | None, typer.Option(help="Model option, key=value; repeatable.")
    ] = None,
    train_option: Annotated[list[str] | None, typer.Option(help="Training option such as lr=0.1.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the log as TensorBoard event files too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Train, sparsify, shrink, export and measure a portfolio of variants.

    Every level of sparsity becomes one variant: shrunk exactly, exported to ONNX, measured.
    The folder then holds the portfolio and report.html.
    Ctrl-C loses at most the level in work; the same command with --resume goes on.

    [bold]Examples[/bold]

      edgeshift build resnet20 --data digits --out build/digits
      edgeshift build cifar10_resnet20 --data cifar10 --out build/cifar
      edgeshift build my.nets:make --data photos/ --out build/mine --epochs 10
      edgeshift build my.nets:make --data photos/ --out build/mine --resume
    """
    from edgeshift.cli.result import PAGE, show
    from edgeshift.derive import Job
    from edgeshift.derive import build as run
    from edgeshift.reports import write_html

    job = Job(
        model=model,
        data=data,
        out=out,
        weights=weights,
        method=method,
        method_options=pairs("--option", option),
        model_options=pairs("--model-option", model_option),
        train_options=pairs("--train-option", train_option),
        levels=parse_levels(levels),
        epochs=epochs,
        settings=settings,
        seed=seed,
        threads=threads,
        resume=resume,
        multiple=multiple,
        quick=quick,
        tensorboard=tensorboard,
    )
    portfolio = run(job, Screen(quiet=json))
    write_html(portfolio, portfolio.path / PAGE)
    show(portfolio, json=json)
