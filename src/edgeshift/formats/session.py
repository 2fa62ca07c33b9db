# SPDX-License-Identifier: Apache-2.0
"""A variant opened in ONNX Runtime, without torch and without the code it was trained with."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgeshift.core.errors import BadPortfolio, BadValue
from edgeshift.formats.wire import refuse_external_data

# ORT prints below this level on stderr; what it raises says the same.
ONLY_FATAL = 4


class Session:
    """One model in memory, ready to answer. Made by `open_onnx`.

    Attributes:
        threads: Intra-op threads it was opened with.
        input_shape: Without the batch axis.
        output_shape: Without the batch axis.
        runtime: Name and version, such as "onnxruntime 1.31.1".
    """

    def __init__(self, session: Any, threads: int) -> None:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
            got = f"{[i.type for i in inputs]} and {len(outputs)} outputs"
            raise BadPortfolio(f"ONNX file must have one float32 input and one output, got {got}")
        if isinstance(inputs[0].shape[0] if inputs[0].shape else 0, int):
            raise BadPortfolio(f"ONNX file must take any batch size, got input shape {inputs[0].shape}")
        self._session = session
        self._names = (inputs[0].name, outputs[0].name)
        self.threads = threads
        self.input_shape: tuple[int, ...] = tuple(inputs[0].shape[1:])
        self.output_shape: tuple[int, ...] = tuple(outputs[0].shape[1:])
        self.runtime = f"onnxruntime {onnxruntime.__version__}"

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's answer.

        Args:
            inputs: `(batch, *input_shape)`, float32.

        Returns:
            `(batch, *output_shape)`, float32.

        Raises:
            BadValue: If dtype or shape is another.
            BadPortfolio: If the model fails inside, such as on a shape that does not fit.
        """
        if inputs.dtype != np.float32:
            raise BadValue("dtype of the input", str(inputs.dtype), "float32")
        if inputs.ndim != len(self.input_shape) + 1 or len(inputs) == 0 or not self._fits(inputs.shape[1:]):
            raise BadValue(
                "shape of the input", inputs.shape, f"(batch, {', '.join(map(str, self.input_shape))})"
            )
        given, wanted = self._names
        try:
            answer: NDArray[np.float32] = self._session.run([wanted], {given: inputs})[0]
        except Exception as error:  # see open_onnx
            raise BadPortfolio(f"ONNX file must answer {inputs.shape}, got: {first_line(error)}") from error
        return answer

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Whether each axis is as the file says; a name stands for any length."""
        return all(
            not isinstance(want, int) or want == got
            for want, got in zip(self.input_shape, shape, strict=True)
        )


def open_onnx(source: str | Path | bytes, threads: int = 1) -> Session:
    """An ONNX file, opened.

    Threads are explicit and do not spin while they wait, one operator runs at a time, and files that point at
    other files are refused. A file is read once to check it and once to open it; where somebody else may
    write it in between, hand over bytes.

    Args:
        source: Path or content of the file.
        threads: Intra-op threads, 1 or more.

    Raises:
        BadValue: If `threads` is below 1, or there is no such file.
        BadPortfolio: If the bytes are no ONNX model, it needs other files, or it has several inputs
            or outputs.
    """
    if threads < 1:
        raise BadValue("threads", threads, "at least 1")
    name = "ONNX file" if isinstance(source, bytes) else Path(source).name
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise BadValue("ONNX file", str(source), "an existing file")
    refuse_external_data(source if isinstance(source, bytes) else Path(source).read_bytes())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ONLY_FATAL
    # A waiting thread that spins takes the core from whoever else runs on a small device.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # ORT reads a file into less memory than bytes: 159 instead of 213 MiB at the peak for 56 MiB of VGG-16.
    model = source if isinstance(source, bytes) else str(source)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ORT raises a dozen classes of its own, none with a common base
        raise BadPortfolio(
            f"{name} must be an ONNX model, got one that ONNX Runtime refuses: {first_line(error)}"
        ) from error
    return Session(session, threads)


def first_line(error: Exception) -> str:
    """What a runtime says, without its stack."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
