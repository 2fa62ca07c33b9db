# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU, from a memory-mapped file whose weights are used where they lie."""

import errno
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgeshift.core.card import Card
from edgeshift.core.errors import BadPortfolio, BadValue, DiskFull, OutOfMemory, VariantFailed
from edgeshift.formats import TensorSpec, first_line, refuse_external_data
from edgeshift.runtime.aligned import aligned, write_holes
from edgeshift.runtime.backends.shape import Backend, Model

# ORT prints below this level on stderr; what it raises says the same.
ONLY_FATAL = 4
NO_MEMORY = ("bad_alloc", "Failed to allocate", "bad allocation", "Cannot allocate memory")
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}


class _Opened(Model):
    """One session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(i) for i in session.get_inputs())
        self.outputs = tuple(_spec(o) for o in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        """See `Model.run`."""
        try:
            return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))
        except Exception as error:  # ORT raises a dozen classes of its own, none with a common base
            raise VariantFailed(f"model must answer, got: {first_line(error)}") from error


class _Placed(_Opened):
    """One session whose weights are the caller's; they live as long as it does."""

    def __init__(self, session: Any, held: object) -> None:
        super().__init__(session)
        self._held = held


class Joined:
    """A session whose weights are inputs; see `Onnxruntime.open_joined`."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._inputs = frozenset(i.name for i in session.get_inputs())
        # Place, shape and type of an array -> it and its value, which points into it and does not keep it.
        self._known: dict[Any, tuple[NDArray[Any], Any]] = {}
        self._bound = threading.local()

    def model(self, weights: Mapping[str, NDArray[Any]]) -> Model:
        """The session with weights, which are used where they lie; it lives as long as one of its models.

        Args:
            weights: Input name -> numbers; those that no input is named after do no harm.
        """
        return _Fed(self, {n: self._value(array) for n, array in weights.items() if n in self._inputs})

    def _value(self, array: NDArray[Any]) -> Any:
        where = array.__array_interface__["data"][0] if array.size else 0
        key = (where, array.shape, array.dtype.str)
        if key not in self._known:
            self._known.setdefault(key, (array, onnxruntime.OrtValue.ortvalue_from_numpy(array)))
        return self._known[key][1]

    def bound(self, values: Mapping[str, Any]) -> Any:
        """This thread's binding, with these weights."""
        if not hasattr(self._bound, "binding"):
            self._bound.binding, self._bound.values = self.session.io_binding(), {}
        known = self._bound.values
        if known is not values:
            # Stopped half-way, it must not be taken for the one or the other.
            self._bound.values = {}
            for name, value in values.items():
                if known.get(name) is not value:
                    self._bound.binding.bind_ortvalue_input(name, value)
            self._bound.values = values
        return self._bound.binding


class _Fed(_Opened):
    """One variant of a session that serves several."""

    def __init__(self, joined: Joined, values: Mapping[str, Any]) -> None:
        super().__init__(joined.session)
        self.inputs = tuple(spec for spec in self.inputs if spec.name not in values)
        self._joined, self._values = joined, values

    def run(self, inputs: Mapping[str, NDArray[Any]], limit_s: float = math.inf) -> dict[str, NDArray[Any]]:
        """See `Model.run`."""
        try:
            binding = self._joined.bound(self._values)
            for name, array in inputs.items():
                binding.bind_cpu_input(name, array)
            # Bound anew, or the next batch would have to be as large as this one.
            for name in self._names:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
            return dict(zip(self._names, binding.copy_outputs_to_cpu(), strict=True))
        except Exception as error:  # see _Opened.run
            raise VariantFailed(f"model must answer, got: {first_line(error)}") from error


@dataclass(frozen=True)
class Onnxruntime(Backend):
    """ONNX Runtime's CPU kernels; a waiting thread sleeps, one operator runs at a time.

    Attributes:
        optimisation: "all" also lays weights out for this CPU; "extended" gives files that are right on every
            CPU and up to 1.8 times slower.
    """

    card: ClassVar[Card] = Card(
        name="onnxruntime",
        says="ONNX Runtime's CPU kernels from a memory-mapped file built on the device.",
        paper="ONNX Runtime developers, 2021",
        link="https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html",
        needs="nothing",
    )

    optimisation: str = "all"

    def __post_init__(self) -> None:
        if self.optimisation not in ("all", "extended"):
            raise BadValue("optimisation", self.optimisation, "'all' or 'extended'")

    @property
    def runtime(self) -> str:
        """See `Backend.runtime`."""
        return f"onnxruntime {onnxruntime.__version__}"

    @property
    def level(self) -> str:
        """See `Backend.level`."""
        return self.optimisation

    def build(self, onnx: bytes, target: Path) -> None:
        """See `Backend.build`."""
        options = self._options(1, self.optimisation)
        options.optimized_model_filepath = str(target)
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            _session(onnx, options)
        except BadPortfolio as error:
            if _no_room(target, len(onnx)):
                raise DiskFull(f"disk must have room for {target.name}, got a full disk") from error
            raise
        write_holes(target, aligned(target.read_bytes()))

    def open(self, source: Path | bytes, threads: int) -> Model:
        """See `Backend.open`."""
        if isinstance(source, bytes):
            return _Opened(_session(source, self._options(threads, self.optimisation)))
        options = self._options(threads, "none")
        # The second option takes weights from the mapping instead of copying them. Never with bytes: ORT 1.31
        # then reads freed memory and dies.
        options.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
        options.add_session_config_entry("session.use_ort_model_bytes_for_initializers", "1")
        options.add_session_config_entry("session.load_model_format", "ORT")
        return _Opened(_session(str(source), options))

    def open_placed(
        self, onnx: bytes, folder: Path, arrays: Mapping[str, NDArray[Any]], threads: int
    ) -> Model:
        """A model whose weights lie in arrays of the caller, used in place by every session that gets them.

        Args:
            onnx: An ONNX file that we made ourselves: its weights point into a file of `folder`.
            folder: Where that file is.
            arrays: Name of a weight -> its numbers, used instead of that file.
            threads: Intra-op threads, 1 or more.

        Raises:
            BadPortfolio: If the runtime refuses it.
            MemoryError: If there is not enough memory.
        """
        options = self._options(threads, "none")
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        # A session takes such a value as it is; what it reads from a file it maps again, or copies.
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
        for name, value in zip(arrays, values, strict=True):
            options.add_initializer(name, value)
        return _Placed(_session(onnx, options, external=True), (options, values, dict(arrays)))

    def open_joined(self, onnx: bytes, threads: int) -> Joined:
        """One session for variants that differ by their weights only.

        Args:
            onnx: An ONNX file whose weights are inputs.
            threads: Intra-op threads, 1 or more.

        Raises:
            BadPortfolio: If the runtime refuses it.
            MemoryError: If there is not enough memory.
        """
        return Joined(_session(onnx, self._options(threads, "none")))

    def reference(self, onnx: bytes) -> Model:
        """See `Backend.reference`."""
        return _Opened(_session(onnx, self._options(1, "none")))

    @staticmethod
    def _options(threads: int, level: str) -> Any:
        if threads < 1:
            raise BadValue("threads", threads, "at least 1")
        levels = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = ONLY_FATAL
        options.graph_optimization_level = {
            "none": levels.ORT_DISABLE_ALL,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "all": levels.ORT_ENABLE_ALL,
        }[level]
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        if share_arena():
            options.add_session_config_entry("session.use_env_allocators", "1")
        return options


@cache
def share_arena() -> bool:
    """Whether the sessions of this process share one arena for what they compute in.

    The arena of ONNX Runtime's environment, of which a process has one; it is asked for once. A variant then adds 0.4
    MB of private memory instead of 0.6, and its first answer after a switch finds the memory that the one before it
    worked in still in the processor's cache: 0.03 to 0.04 ms over a steady one instead of 0.04 to 0.06 (ResNet-20 at
    four widths, bench/runtime/overhead).
    """
    kind, default = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    try:
        onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, default), None)
    except Exception:  # ORT's own classes: somebody in this process has registered one, or it has none
        return False
    return True


def _session(model: str | bytes, options: Any, *, external: bool = False) -> Any:
    if isinstance(model, bytes) and not external:
        refuse_external_data(model)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # see _Opened.run
        said = first_line(error)
        if any(word in said for word in NO_MEMORY):
            raise OutOfMemory(f"model must fit into memory, got: {said}") from error
        raise BadPortfolio(f"file must be a model that ONNX Runtime opens, got: {said}") from error


def _spec(port: Any) -> TensorSpec:
    if port.type not in DTYPES:
        raise BadPortfolio(f"type of {port.name} must be one of {', '.join(DTYPES)}, got {port.type}")
    shape = tuple(size if isinstance(size, int) else None for size in port.shape)
    return TensorSpec(port.name, np.dtype(DTYPES[port.type]), shape)


def _no_room(target: Path, wanted: int) -> bool:
    """Whether a file of that size cannot be written where ORT just failed to write one; it says only "failed"."""
    probe = target.with_name(target.name + "~")
    try:
        with probe.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, max(wanted, 1))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    finally:
        probe.unlink(missing_ok=True)
    return False
