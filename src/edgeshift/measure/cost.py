# SPDX-License-Identifier: Apache-2.0
"""Everything that one file costs on this machine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeshift.core.errors import BadValue
from edgeshift.core.values import Measurement
from edgeshift.devices.machine import describe_device
from edgeshift.formats import open_onnx
from edgeshift.measure.latency import Protocol, latency
from edgeshift.measure.memory import peak_memories


def file_size(path: str | Path) -> Measurement:
    """Bytes of a file.

    Raises:
        BadValue: If there is no such file.
    """
    if not Path(path).is_file():
        raise BadValue("file", str(path), "an existing file")
    size = Path(path).stat().st_size
    return Measurement("file_size", size, "bytes", device=describe_device()).check()


def measure(
    path: str | Path,
    batch_sizes: Sequence[int] = (1, 32),
    threads: int = 1,
    protocol: Protocol = Protocol(),  # noqa: B008  # frozen
) -> tuple[Measurement, ...]:
    """Size, latency at each batch size, and peak memory at batch size 1 of an ONNX file, on this machine.

    To compare files, measure their latency in turns: `edgeshift.measure.latencies`.

    Args:
        path: ONNX file of a variant.
        batch_sizes: Inputs per call.
        threads: Intra-op threads, 1 or more.
        protocol: When to start and stop timing.

    Raises:
        BadValue: If there is no such file, its input shape is open, or a number is below 1.
        BadPortfolio: If the file does not open or answer.
    """
    session = open_onnx(path, threads)
    if not all(isinstance(size, int) for size in session.input_shape):
        raise BadValue("input shape", session.input_shape, "fixed but for the batch")
    example = np.random.default_rng(0).standard_normal((1, *session.input_shape), dtype=np.float32)
    timed = [latency(session, example, size, threads, protocol) for size in batch_sizes]
    return (file_size(path), *timed, *peak_memories(path, 1, threads))
