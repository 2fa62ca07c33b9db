# SPDX-License-Identifier: Apache-2.0
"""Networks by name: the zoo, pretrained weights and the user's own code.

The names below load on first use: asking what there is imports no torch.
"""

from importlib import import_module
from typing import Any

_DOOR = {
    "Pretrained": "edgeshift.models.published",
    "ZOO": "edgeshift.models.names",
    "build": "edgeshift.models.make",
    "example": "edgeshift.models.make",
    "load_weights": "edgeshift.models.weights",
    "presets": "edgeshift.models.names",
    "pretrained": "edgeshift.models.published",
    "pretrained_path": "edgeshift.models.published",
    "resolve": "edgeshift.models.names",
}


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'edgeshift.models' has no attribute {name!r}")
    return getattr(import_module(_DOOR[name]), name)


def __dir__() -> list[str]:
    return sorted(_DOOR)
