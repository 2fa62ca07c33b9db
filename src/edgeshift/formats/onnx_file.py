# SPDX-License-Identifier: Apache-2.0
"""A torch model as one ONNX file, checked against torch before it counts.

torch's exporter takes seconds, and the variants of one model differ in little but their weights. So a
`Template` is exported once; a variant's file is the template with the variant's tensors in place of its
own: 17 to 77 ms instead of 2.1 to 6.0 s, and the same bytes, on ResNet-20, ResNet-56, VGG-16 and
MobileNetV2. Where that does not do, the variant is exported in full and `Exported.because` says why.

Batch norm is folded into convolutions here, although ONNX Runtime would do it too: latency is the same
within 1 %, but the files open in 5.8, 22 and 19 ms instead of 10, 31 and 28 (ResNet-20 at half width,
VGG-16, MobileNetV2).
"""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadPortfolio, BadValue, NotExact, NotInstalled, Untraceable
from edgeshift.core.files import write_bytes
from edgeshift.core.seeds import seed_for
from edgeshift.formats import onnx_graph
from edgeshift.formats.onnx_silent import silence_
from edgeshift.formats.session import first_line, open_onnx

# What torch's exporter writes without conversion; ORT reads it since 1.14.
OPSET = 18
# float32 sums in another order differ by up to 7e-7 of the largest output, on 8 runtimes.
TOLERANCE = 1e-5
# The file says any batch size; it is tried with one and with an odd one.
BATCH_SIZES = (1, 3)
# protobuf's own limit for one message.
MAX_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Template:
    """An exported graph whose tensors can be exchanged.

    Attributes:
        graph: Unfolded model; its tensors are named as in the torch model.
        names: Every parameter and buffer of the torch model, whether the graph reads it or not.
        seconds: What exporting took.
    """

    graph: onnx.ModelProto
    names: frozenset[str]
    seconds: float


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was checked.

    Attributes:
        data: Its bytes; equal weights give equal bytes.
        way: "template" or "full".
        because: Why a given template did not do; empty if it did or none was given.
        max_error: Largest |difference| from torch over largest |output|, both float32.
        seconds: What making and checking took.
    """

    data: bytes
    way: str
    because: str
    max_error: float
    seconds: float


@contextmanager
def quiet() -> Iterator[None]:
    """torch's exporter says which optional packages it lacks, to every user; here it does not."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def check_exportable(model: nn.Module, example: Tensor) -> None:
    """Nothing, if model and example are such that an export can be right.

    Raises:
        BadValue: Naming what is not.
    """
    if model.training:
        raise BadValue("model", "training mode", "in eval mode")
    if example.dtype != torch.float32 or example.ndim < 2 or len(example) < 2:
        raise BadValue(
            "example", (str(example.dtype), tuple(example.shape)), "float32 with a batch of at least 2"
        )
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise BadValue(f"dtype of {name}", str(parameter.dtype), "torch.float32")


def make_template(model: nn.Module, example: Tensor) -> Template:
    """A graph to fill with the tensors of smaller models of the same class.

    Args:
        model: In eval mode, float32; the one that variants are shrunk from.
        example: `(batch, *input_shape)`, float32, batch of at least 2.

    Raises:
        BadValue: If model or example cannot be exported as they are.
        Untraceable: If torch cannot export the model.
        NotInstalled: If onnxscript is missing.
    """
    check_exportable(model, example)
    try:
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise NotInstalled("onnxscript", "derive") from error
    start = time.perf_counter()
    names = frozenset([*dict(model.named_parameters(remove_duplicate=False)), *dict(model.named_buffers())])
    try:
        with quiet(), torch.no_grad():
            batch = {0: torch.export.Dim("batch")}
            traced = torch.export.export(model, (example,), dynamic_shapes=(batch,))
            program = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=["input"],
                output_names=["output"],
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
            graph = onnx_graph.tidy(program.model, names)  # type: ignore[union-attr]  # dynamo=True returns one
    except Exception as error:  # torch's exporter raises whatever its layers raise
        name = type(model).__name__
        raise Untraceable(
            f"model {name} must be one that torch can export, got: {first_line(error)}"
        ) from error
    sides = len(graph.graph.input), len(graph.graph.output)
    if sides != (1, 1):
        raise BadValue("inputs and outputs of the model", sides, "one of each")
    return Template(graph, names, time.perf_counter() - start)


def export_onnx(
    model: nn.Module, example: Tensor, path: Path | None = None, template: Template | None = None
) -> Exported:
    """The model as an ONNX file, checked against torch's outputs.

    The input is called "input", the output "output", the batch size is free, all tensors are inside, and
    neither names of files nor times are.

    Args:
        model: In eval mode, float32; not changed.
        example: `(batch, *input_shape)`, float32, batch of at least 2.
        path: Where to write; None = only return the bytes.
        template: From a larger model of the same class; saves seconds.

    Raises:
        BadValue: If model or example cannot be exported as they are.
        Untraceable: If torch cannot export the model.
        NotExact: If the file answers differently from torch; nothing is written.
        DiskFull: If there is no room.
    """
    check_exportable(model, example)
    start = time.perf_counter()
    because = ""
    if template is not None:
        data, because = filled(template, model)
        if not because:
            try:
                return finish(data, model, example, path, "template", "", start)
            except (NotExact, BadPortfolio) as error:
                because = str(error)
    data, misfit = filled(make_template(model, example), model)
    if misfit:
        raise NotExact(f"exported graph must read the model's tensors, got {misfit}")
    try:
        return finish(data, model, example, path, "full", because, start)
    except BadPortfolio as error:
        raise NotExact(f"exported file must answer as torch does, got: {error}") from error


def filled(template: Template, model: nn.Module) -> tuple[bytes, str]:
    """The template's file with the model's tensors, or empty bytes and why they do not fit."""
    tensors = {}
    for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]:
        tensors[name] = tensor.detach().cpu().contiguous().numpy()
    groups = {f"{n}.weight".lstrip("."): m.groups for n, m in model.named_modules() if hasattr(m, "groups")}
    graph = onnx.ModelProto()
    graph.CopyFrom(template.graph)
    misfit = onnx_graph.fill_(graph, tensors, template.names, groups)
    if misfit:
        return b"", misfit
    onnx_graph.fold_batch_norm_(graph)
    silence_(graph)
    if graph.ByteSize() > MAX_BYTES:
        raise BadValue("size of the ONNX file", graph.ByteSize(), f"at most {MAX_BYTES} bytes")
    return graph.SerializeToString(deterministic=True), ""


def finish(
    data: bytes, model: nn.Module, example: Tensor, path: Path | None, way: str, because: str, start: float
) -> Exported:
    """Check the file, write it, and say what it cost."""
    error = worst_error(data, model, example)
    if not error <= TOLERANCE:
        raise NotExact(f"relative error of the ONNX file must be at most {TOLERANCE}, got {error:.3g}")
    if path is not None:
        write_bytes(path, data)
    return Exported(data, way, because, error, time.perf_counter() - start)


def worst_error(data: bytes, model: nn.Module, example: Tensor) -> float:
    """Largest |difference| of ONNX Runtime from torch over largest |output|; infinite if shapes differ."""
    session = open_onnx(data)
    worst = 0.0
    for batch in BATCH_SIZES:
        source = torch.Generator().manual_seed(seed_for(0, "export", batch))
        inputs = torch.randn((batch, *example.shape[1:]), generator=source)
        with torch.no_grad():
            right = model(inputs).numpy().astype(np.float64)
        answer = session.run(inputs.numpy()).astype(np.float64)
        if answer.shape != right.shape or not np.isfinite(answer).all():
            return float("inf")
        scale = float(np.abs(right).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(answer - right).max(initial=0.0)) / scale)
    return worst
