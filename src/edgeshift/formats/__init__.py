# SPDX-License-Identifier: Apache-2.0
"""How a variant lies on disk and is opened: safetensors with a shape plan, and ONNX. No pickle anywhere.

What needs torch loads on first use; opening ONNX files and reading tensors needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeshift.formats.session import Session, first_line, open_onnx
from edgeshift.formats.sparse import read_sparse, sparse_bytes
from edgeshift.formats.spec import TensorSpec
from edgeshift.formats.tensors import read_shapes, read_tensors, tensor_bytes, write_tensors
from edgeshift.formats.wire import refuse_external_data

if TYPE_CHECKING:
    from edgeshift.formats.onnx_file import Exported, Template, export_onnx, make_template
    from edgeshift.formats.weights import load, save, weight_bytes

_LATER = {
    "Exported": "onnx_file",
    "Template": "onnx_file",
    "export_onnx": "onnx_file",
    "load": "weights",
    "make_template": "onnx_file",
    "save": "weights",
    "weight_bytes": "weights",
}
__all__ = [
    "Exported",
    "Session",
    "Template",
    "TensorSpec",
    "export_onnx",
    "first_line",
    "load",
    "make_template",
    "open_onnx",
    "read_shapes",
    "read_sparse",
    "read_tensors",
    "refuse_external_data",
    "save",
    "sparse_bytes",
    "tensor_bytes",
    "weight_bytes",
    "write_tensors",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'edgeshift.formats' has no attribute {name!r}")
    return getattr(import_module(f"edgeshift.formats.{_LATER[name]}"), name)
