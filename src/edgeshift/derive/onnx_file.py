# SPDX-License-Identifier: Apache-2.0
"""One sparse ONNX file in, one smaller ONNX file out; no torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgeshift.core.errors import BadValue, FolderTaken, NotInstalled
from edgeshift.core.files import write_bytes

if TYPE_CHECKING:
    from edgeshift.graph.onnx_shrink import ShrunkOnnx


def shrink_onnx_file(source: Path, target: Path) -> "ShrunkOnnx":
    """Shrink an ONNX file of any framework exactly and write the smaller one.

    Args:
        source: The `.onnx` file.
        target: The `.onnx` file to write.

    Raises:
        BadValue: If the target is not called `.onnx`, or the source is no ONNX model of opset 11 or later.
        FolderTaken: If the target is the source.
        NotExact: If the smaller model would compute something else; nothing is written then.
        NotInstalled: If onnx is missing.
        Untraceable: If ONNX Runtime cannot run the model.
    """
    try:
        from edgeshift.graph import shrink_onnx
    except ModuleNotFoundError as error:
        raise NotInstalled("onnx", "derive") from error
    if target.suffix != ".onnx":
        raise BadValue("out", str(target), "an .onnx file")
    if target.exists() and source.exists() and target.samefile(source):
        raise FolderTaken(f"out must be another file than the model, got {target}")
    shrunk: ShrunkOnnx = shrink_onnx(source)
    write_bytes(target, shrunk.to_bytes())
    return shrunk
