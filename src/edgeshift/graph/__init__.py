# SPDX-License-Identifier: Apache-2.0
"""The channel graph: what every channel does, and a model without those that do nothing."""

from importlib import import_module
from typing import Any

_DOOR = {
    "Counts": "report",
    "Report": "report",
    "Shrunk": "exact",
    "ShrunkOnnx": "onnx_shrink",
    "channel_groups": "coupled",
    "count": "exact",
    "shrink": "exact",
    "shrink_onnx": "onnx_shrink",
    "shrink_traced": "exact",
    "trace": "fronts.torch_export",
}
__all__ = [
    "Counts",
    "Report",
    "Shrunk",
    "ShrunkOnnx",
    "channel_groups",
    "count",
    "shrink",
    "shrink_onnx",
    "shrink_traced",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'edgeshift.graph' has no attribute {name!r}")
    return getattr(import_module(f"edgeshift.graph.{_DOOR[name]}"), name)
