# SPDX-License-Identifier: Apache-2.0
"""`edgeshift shrink`: a sparse checkpoint in, a smaller one with equal outputs out."""

from pathlib import Path
from typing import Annotated

import typer

from edgeshift.cli.values import pairs, whole_numbers


def shrink(
    file: Annotated[Path, typer.Argument(help="Sparse checkpoint, .safetensors.")],
    model: Annotated[str, typer.Option(help="Zoo or pretrained name, or package.module:factory.")],
    out: Annotated[Path, typer.Option(help="The smaller .safetensors file to write.")],
    input_shape: Annotated[str, typer.Option(help="Channels,height,width of one input.")] = "3,32,32",
    classes: Annotated[int, typer.Option(help="Classes of the model.")] = 10,
    model_option: Annotated[
        list[str] | None, typer.Option(help="Model option, key=value; repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, nothing else.")] = False,
) -> None:
    """Remove what does nothing from a sparse checkpoint; outputs stay the same, and it is proved.

    The new file holds the smaller tensors and the plan that resizes a freshly built model to them.

    [bold]Examples[/bold]

      edgeshift shrink sparse.safetensors --model resnet20 --out small.safetensors
      edgeshift shrink my.safetensors --model my.nets:make --input-shape 1,28,28 --out small.safetensors
    """
    from edgeshift.cli.result import print_json
    from edgeshift.derive import shrink_file
    from edgeshift.models import resolve

    shape = whole_numbers("--input-shape", input_shape)
    ref = resolve(model, classes=classes, input_shape=shape, options=pairs("--model-option", model_option))
    shrunk = shrink_file(file, out, ref)
    if json:
        print_json(shrunk.report.to_json())
        return
    typer.echo(shrunk.report.text())
    typer.echo(f"Written: {out} ({out.stat().st_size:,} bytes)")
