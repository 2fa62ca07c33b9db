# SPDX-License-Identifier: Apache-2.0
"""`edgeshift shrink`: a sparse checkpoint or ONNX file in, a smaller one with equal outputs out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeshift.cli.values import pairs, whole_numbers
from edgeshift.core.errors import BadValue

if TYPE_CHECKING:
    from edgeshift.graph import Report


def shrink(
    file: Annotated[Path, typer.Argument(help="Sparse checkpoint, .safetensors, or any .onnx file.")],
    out: Annotated[Path, typer.Option(help="The smaller file to write, of the same kind.")],
    model: Annotated[
        str | None, typer.Option(help="For a checkpoint: zoo or pretrained name, or package.module:factory.")
    ] = None,
    input_shape: Annotated[str, typer.Option(help="Channels,height,width of one input.")] = "3,32,32",
    classes: Annotated[int, typer.Option(help="Classes of the model.")] = 10,
    model_option: Annotated[
        list[str] | None, typer.Option(help="Model option, key=value; repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, nothing else.")] = False,
) -> None:
    """Remove what does nothing from a sparse checkpoint or ONNX file; outputs stay the same, with proof.

    The new checkpoint holds the smaller tensors and the plan that resizes a freshly built model to them.
    An ONNX file of any framework needs no model, and torch need not be installed.

    [bold]Examples[/bold]

      edgeshift shrink sparse.safetensors --model resnet20 --out small.safetensors
      edgeshift shrink my.safetensors --model my.nets:make --input-shape 1,28,28 --out small.safetensors
      edgeshift shrink sparse.onnx --out small.onnx
    """
    from edgeshift.cli.result import print_json

    if file.suffix == ".onnx":
        report = _onnx(file, out, model)
    else:
        report = _checkpoint(file, out, model, input_shape, classes, model_option)
    if json:
        print_json(report.to_json())
        return
    typer.echo(report.text())
    typer.echo(f"Written: {out} ({out.stat().st_size:,} bytes)")


def _onnx(file: Path, out: Path, model: str | None) -> "Report":
    from edgeshift.derive import shrink_onnx_file

    if model is not None:
        raise BadValue("--model", model, "left out for an .onnx file")
    report: Report = shrink_onnx_file(file, out).report
    return report


def _checkpoint(
    file: Path, out: Path, model: str | None, input_shape: str, classes: int, model_option: list[str] | None
) -> "Report":
    from edgeshift.derive import shrink_file
    from edgeshift.models import resolve

    if model is None:
        raise BadValue("--model", model, "the name of the checkpoint's model")
    shape = whole_numbers("--input-shape", input_shape)
    ref = resolve(model, classes=classes, input_shape=shape, options=pairs("--model-option", model_option))
    report: Report = shrink_file(file, out, ref).report
    return report
