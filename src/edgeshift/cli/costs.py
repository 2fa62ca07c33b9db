# SPDX-License-Identifier: Apache-2.0
"""`edgeshift costs`: what each layer of a model costs at every width, for methods that decide by it."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.screen import Screen
from edgeshift.cli.values import pairs


def costs(
    model: Annotated[
        str, typer.Argument(help="Zoo or pretrained name, or package.module:factory of your own code.")
    ],
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("costs.json"),
    data: Annotated[str, typer.Option(help="Data set that says classes and input shape.")] = "cifar10",
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    model_option: Annotated[
        list[str] | None, typer.Option(help="Model option, key=value; repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON, nothing else.")] = False,
) -> None:
    """Time every layer alone in ONNX Runtime, at every width, on this device.

    Multiply-accumulates say little about time: widths within one vector block cost the same. The methods
    soft_masking and all_in_one decide by this table where it is given as their option `table`.

    [bold]Examples[/bold]

      edgeshift costs vgg16_bn --out vgg.json
      edgeshift build vgg16_bn --data cifar10 --out build/vgg --method soft_masking --option table=vgg.json
    """
    from edgeshift.cli.result import print_json
    from edgeshift.data import open_set
    from edgeshift.derive import layer_costs
    from edgeshift.models import resolve

    about = open_set(data)
    ref = resolve(
        model,
        classes=len(about.classes),
        input_shape=about.input_shape,
        options=pairs("model_option", model_option),
    )
    found = layer_costs(ref, out, threads=threads, progress=Screen(quiet=json))
    if json:
        print_json(found)
        return
    for name, table in found["layers"].items():
        whole = f"{table['rows'][-1]} x {table['columns'][-1]}"
        typer.echo(f"{name:>32}  {whole:>11}  {table['cost'][-1][-1]:8.3f} ms")
    typer.echo(f"\nTable: {out}\nNext:  edgeshift build {model} --method soft_masking --option table={out}")
