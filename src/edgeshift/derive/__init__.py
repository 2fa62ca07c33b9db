# SPDX-License-Identifier: Apache-2.0
"""The one-way line: a model and data in, a portfolio of variants out."""

from importlib import import_module
from typing import Any

# The line trains and traces; a door that the command line opens must stay light until one of these is used.
_DOOR = {
    "Checked": "edgeshift.derive.reprove",
    "Comparison": "edgeshift.derive.comparison",
    "Job": "edgeshift.derive.job",
    "bench": "edgeshift.derive.remeasure",
    "build": "edgeshift.derive.line",
    "compare": "edgeshift.derive.comparison",
    "layer_costs": "edgeshift.derive.layer_table",
    "shrink_file": "edgeshift.derive.checkpoint",
    "shrink_onnx_file": "edgeshift.derive.onnx_file",
    "verify": "edgeshift.derive.reprove",
}
__all__ = [
    "Checked",
    "Comparison",
    "Job",
    "bench",
    "build",
    "compare",
    "layer_costs",
    "shrink_file",
    "shrink_onnx_file",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'edgeshift.derive' has no attribute {name!r}")
    return getattr(import_module(_DOOR[name]), name)
