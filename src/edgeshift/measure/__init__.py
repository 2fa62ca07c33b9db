# SPDX-License-Identifier: Apache-2.0
"""What a variant costs, measured with its protocol: latency, memory, size, accuracy. Imports no torch."""

from edgeshift.devices.machine import describe_device
from edgeshift.measure.accuracy import accuracy
from edgeshift.measure.cost import file_size, measure
from edgeshift.measure.latency import Protocol, latencies, latency
from edgeshift.measure.memory import peak_memories, peak_memory

__all__ = [
    "Protocol",
    "accuracy",
    "describe_device",
    "file_size",
    "latencies",
    "latency",
    "measure",
    "peak_memories",
    "peak_memory",
]
