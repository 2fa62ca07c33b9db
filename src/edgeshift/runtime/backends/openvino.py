# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU, pinned to float32: left alone it computes in bfloat16 where the CPU can, and says nothing."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadPortfolio, BadValue, NotInstalled, OutOfMemory, VariantFailed
from edgeshift.core.files import write_bytes
from edgeshift.formats import TensorSpec, first_line, refuse_external_data
from edgeshift.runtime.backends.shape import Backend, Model


class _Opened(Model):
    """One compiled model; each thread has a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._local = threading.local()
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)

    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        """See `Model.run`."""
        try:
            if not hasattr(self._local, "request"):
                self._local.request = self._compiled.create_infer_request()
            found = self._local.request.infer(dict(inputs))
            # Copied: the next inference of this thread writes into the same memory.
            return {
                spec.name: np.array(found[port])
                for spec, port in zip(self.outputs, self._compiled.outputs, strict=True)
            }
        except Exception as error:  # OpenVINO raises RuntimeError and a few of its own
            raise VariantFailed(f"model must answer, got: {first_line(error)}") from error


@dataclass(frozen=True)
class Openvino(Backend):
    """OpenVINO's CPU plug-in in float32.

    Compiling takes 50 to 760 ms; what it compiled is kept like any built file and opens in 20 to 50.

    Attributes:
        precision: "f32"; "bf16" is what OpenVINO would choose on some CPUs, and fails the self test there.
    """

    card: ClassVar[Card] = Card(
        name="openvino",
        says="OpenVINO's CPU kernels in float32; needs the extra of that name.",
        paper="OpenVINO developers, 2018",
        link="https://docs.openvino.ai/2025/openvino-workflow/running-inference.html",
        needs="nothing",
    )

    precision: str = "f32"

    def __post_init__(self) -> None:
        if self.precision not in ("f32", "bf16"):
            raise BadValue("precision", self.precision, "'f32' or 'bf16'")

    @property
    def runtime(self) -> str:
        """See `Backend.runtime`."""
        _core()
        return f"openvino {version('openvino')}"

    @property
    def level(self) -> str:
        """See `Backend.level`."""
        return self.precision

    def build(self, onnx: bytes, target: Path) -> None:
        """See `Backend.build`."""
        write_bytes(target, self._compiled(onnx, 1).export_model().getvalue())

    def open(self, source: Path | bytes, threads: int) -> Model:
        """See `Backend.open`."""
        if threads < 1:
            raise BadValue("threads", threads, "at least 1")
        if isinstance(source, bytes):
            return _Opened(self._compiled(source, threads))
        try:
            return _Opened(_core().import_model(source.read_bytes(), "CPU", self._settings(threads)))
        except RuntimeError as error:
            raise _refused(error) from error

    def reference(self, onnx: bytes) -> Model:
        """See `Backend.reference`; OpenVINO cannot leave its optimisation out, so this is one of float32."""
        return _Opened(Openvino("f32")._compiled(onnx, 1))

    def _compiled(self, onnx: bytes, threads: int) -> Any:
        refuse_external_data(onnx)
        core = _core()
        try:
            return core.compile_model(core.read_model(model=onnx), "CPU", self._settings(threads))
        except RuntimeError as error:
            raise _refused(error) from error

    def _settings(self, threads: int) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }


def _core() -> Any:
    try:
        return import_module("openvino").Core()
    except ModuleNotFoundError as error:
        raise NotInstalled("openvino", "openvino") from error


def _refused(error: Exception) -> Exception:
    said = first_line(error)
    if "bad_alloc" in said or "allocate" in said:
        return OutOfMemory(f"model must fit into memory, got: {said}")
    return BadPortfolio(f"file must be a model that OpenVINO opens, got: {said}")


def _spec(port: Any) -> TensorSpec:
    shape = tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()), shape)
